"""The report of a run: report.json, report.md and report.png."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.chart import draw_bars
from evaluation.plain_text import escape_markdown
from evaluation.score import Score, save_scores
from evaluation.tables import (
    Table,
    format_markdown_table,
    load_recorded_results,
    make_accuracy_table,
    make_cost_table,
    make_detail_table,
    make_generation_detail_table,
    make_generation_table,
    make_recorded_table,
    make_spread_table,
)
from evaluation.trust import describe_trust, make_trust_table
from safe_files import write_text

TRUST_NOTE = (
    "Intervals (Wilson, 95%) say what the evaluation rows leave open; how much depends on the few-shot draw stands by seed. "
    "Comparisons pair the two methods' answers row by row; in brackets the difference in points."
)


class RunningReport:
    """Writes the report of a run that goes on, so that an interrupted run leaves one of what it did.

    No more than a tenth of the run's time goes into reports of part of it: with hundreds of tasks, each takes seconds.

    Args:
        output_dir: Folder to write into.
        about: What one must know of the run; JSON values.
    """

    def __init__(self, output_dir: Path, about: dict[str, Any]):
        self.output_dir, self.about = output_dir, about
        self._due = -math.inf

    def update(self, scores: Sequence[Score], is_last: bool) -> None:
        """Write the report of these scores if it is time, or if they are all."""
        start = time.monotonic()
        if is_last or start >= self._due:
            write_report(scores, self.output_dir, self.about)
            end = time.monotonic()
            self._due = end + 10 * (end - start)


def write_report(scores: Sequence[Score], output_dir: Path, about: dict[str, Any]) -> None:
    """Write `report.json`, `report.md` and `report.png`.

    Args:
        scores: At least one.
        output_dir: Folder to write into; made where there is none.
        about: What one must know of the run; JSON values.
    """
    save_scores(scores, output_dir / "report.json", about)
    write_text(output_dir / "report.md", "\n".join(format_report(scores, about)))
    draw_bars(scores, output_dir / "report.png")


def format_report(scores: Sequence[Score], about: dict[str, Any]) -> list[str]:
    """Write the report as lines of Markdown."""
    ranked = any(score.accuracy is not None for score in scores)
    generated = any(score.generation for score in scores)
    lines = ["# Held-out tasks", ""]
    lines += [f"- {escape_markdown(key)}: {escape_markdown(value)}" for key, value in about.items()] + [""]
    if ranked:
        recorded_by = load_recorded_results()["model"]
        lines += _format_section("Accuracy (%)", make_accuracy_table(scores))
        if recorded := make_recorded_table(scores):
            lines += [f"Recorded by the method's authors with {recorded_by}, another model than the above:", ""]
            lines += [*format_markdown_table(recorded), ""]
        if trust := make_trust_table(scores):
            lines += [
                "## Whether to trust it",
                "",
                *(f"- {escape_markdown(text)}" for text in describe_trust(scores)),
                "",
            ]
            lines += [TRUST_NOTE, "", *format_markdown_table(trust), ""]
        if spread := make_spread_table(scores):
            lines += _format_section("Over templates (%)", spread)
    if generated:
        lines += _format_section("Generated texts, ROUGE-L (%)", make_generation_table(scores))
    lines += _format_section("Cost", make_cost_table(scores), "Means over tasks, templates and seeds.")
    if ranked:
        lines += _format_section("Behind it", make_detail_table(scores))
    if generated:
        lines += _format_section("Behind the generated texts", make_generation_detail_table(scores))
    return lines


def _format_section(title: str, table: Table, text: str = "") -> list[str]:
    return [f"## {title}", "", *([text, ""] if text else []), *format_markdown_table(table), ""]
