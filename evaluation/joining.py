"""Several runs' reports as one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.method_names import MAJORITY
from evaluation.report import write_report
from evaluation.score import Score, load_scores


def join_reports(directories: Sequence[str | Path], output_dir: Path) -> list[Score]:
    """Join the reports of several runs, such as those of other tasks, models or methods, into one.

    What several runs scored with the same result, such as the majority class, stands in it once. Where they scored the
    same thing differently, the method's name is followed by the name of the run's directory (its path, where several
    have the same name).

    Args:
        directories: Output directories of runs.
        output_dir: Where the joined report is written.

    Returns:
        The joined scores.

    Raises:
        ValueError: A directory has no report, or its own would be written over.
    """
    reports, about = {}, {}
    paths = list(dict.fromkeys(map(Path, directories)))
    names = [path.resolve().name for path in paths]
    for directory, name in zip(paths, names, strict=True):
        path = directory / "report.json"
        if directory.resolve() == output_dir.resolve():
            raise ValueError(f"'{directory}' holds one of the reports to be joined: choose another `output_dir`.")
        if not path.is_file():
            raise ValueError(f"'{directory}' has no report.json: give output directories of runs with `--do_eval`.")
        run = name if names.count(name) == 1 else str(directory)
        reports[run], settings = load_scores(path)
        about[run] = ", ".join(f"{key} {value}" for key, value in settings.items())
    values: dict[tuple, set[float]] = defaultdict(set)
    for scores in reports.values():
        for score in scores:
            values[_get_subject(score)].add(score.main_value)
    ambiguous = {
        score.method for scores in reports.values() for score in scores if len(values[_get_subject(score)]) > 1
    }
    joined: dict[tuple, Score] = {}
    for run, scores in reports.items():
        for score in scores:
            if score.method in ambiguous:
                score = replace(score, method=f"{score.method} ({run})")
            joined.setdefault(_get_subject(score), score)
    write_report(list(joined.values()), output_dir, about)
    return list(joined.values())


def _get_subject(score: Score) -> tuple[str, str, str, int]:
    """What was scored; the majority class is the same under all templates."""
    template = "" if score.method == MAJORITY else score.template
    return score.task, template, score.method, score.seed
