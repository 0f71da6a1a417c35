"""Tables of scores: a header and rows of text, as Markdown and the terminal take them."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.aggregation import Value, format_percent, get_seed_means, get_task_means
from evaluation.method_names import MAJORITY
from evaluation.plain_text import escape_markdown
from evaluation.score import Score, get_methods, get_tasks

Table = list[list[str]]


def make_accuracy_table(scores: Sequence[Score]) -> Table:
    """Make the table of accuracies in percent: tasks by methods, and the mean over tasks at the end.

    A cell is the mean over templates; with several seeds, mean ± standard deviation of that over the seeds. There is no
    deviation where the method saw no drawn examples and is the same with all seeds. A mean of fewer tasks than there
    are says of how many.
    """
    return _make_score_table([s for s in scores if s.accuracy is not None], lambda score: score.accuracy)


def make_generation_table(scores: Sequence[Score]) -> Table:
    """Make the table of ROUGE-L for tasks without answer choices, as `make_accuracy_table` does."""
    return _make_score_table([s for s in scores if s.generation], lambda score: score.generation["rougeL"])


def _make_score_table(scores: Sequence[Score], value: Value) -> Table:
    methods, tasks = get_methods(scores), get_tasks(scores)
    means = get_seed_means(scores, value)
    drawn = {score.method for score in scores if score.labelled or score.unlabelled}

    def make_cells(by_method: Iterable[dict[int, float]]) -> list[str]:
        cells = []
        for method, by_seed in zip(methods, by_method, strict=True):
            values = list(by_seed.values())
            cells.append(format_percent(values[:1] if method not in drawn and len(set(values)) == 1 else values))
        return cells

    rows = [["task", *methods]]
    rows += [[task, *make_cells(means.get((method, task), {}) for method in methods)] for task in tasks]
    if len(tasks) > 1:
        over_tasks = get_task_means(means)
        rows.append(["**mean**", *make_cells(over_tasks[method] for method in methods)])
        for column, method in enumerate(methods, start=1):
            covered = sum((method, task) in means for task in tasks)
            if covered < len(tasks):
                rows[-1][column] += f" ({covered} of {len(tasks)} tasks)"
    return rows


@cache
def load_recorded_results() -> dict[str, Any]:
    """Load what the method's authors recorded: `model`, `methods`, and `accuracies` by data set, in percent."""
    return json.loads(Path(__file__).with_name("recorded_results.json").read_text(encoding="utf-8"))


def make_recorded_table(scores: Sequence[Score]) -> Table:
    """Make the table of what the authors recorded for the data sets among the scores; empty where there are none."""
    recorded = load_recorded_results()
    accuracies = {task: recorded["accuracies"][task] for task in get_tasks(scores) if task in recorded["accuracies"]}
    if not accuracies:
        return []
    rows = [["task", *(f"{method} (authors', {recorded['model']})" for method in recorded["methods"])]]
    rows += [[task, *(f"{value:.1f}" for value in values)] for task, values in accuracies.items()]
    if len(accuracies) > 1:
        means = map(statistics.mean, zip(*accuracies.values(), strict=True))
        rows.append(["**mean**", *(f"{mean:.1f}" for mean in means)])
    return rows


def make_spread_table(scores: Sequence[Score]) -> Table:
    """Make the table of how accuracy varies over the templates or prompts of a task, in percent.

    Over seeds the mean is taken first. Empty where every method has one template.
    """
    rows = [["task", "method", "templates", "mean", "lowest", "25%", "median", "75%", "highest"]]
    by_template: dict[tuple[str, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        if score.accuracy is not None and score.method != MAJORITY:
            by_template[score.task, score.method][score.template][score.seed] = score.accuracy
    for (task, method), templates in by_template.items():
        # A method that chooses a template is under another one with another seed, which is no spread over templates.
        if len(templates) > 1 and len({frozenset(by_seed) for by_seed in templates.values()}) == 1:
            values = [100 * statistics.mean(by_seed.values()) for by_seed in templates.values()]
            numbers = [statistics.mean(values), *np.percentile(values, [0, 25, 50, 75, 100])]
            rows.append([task, method, str(len(values)), *(f"{number:.1f}" for number in numbers)])
    return rows if len(rows) > 1 else []


def make_cost_table(scores: Sequence[Score]) -> Table:
    """Make the table of what each method costs: means over tasks, templates and seeds."""
    by_method: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_method[score.method].append(score)
    rows = [["method", "labels", "unlabelled", "tried", "seconds"]]
    for method, of_method in by_method.items():
        names = ("labelled", "unlabelled", "evaluations", "seconds")
        costs = [statistics.mean(getattr(score, name) for score in of_method) for name in names]
        if any(costs):
            rows.append([method, *(f"{cost:.0f}" for cost in costs[:3]), f"{costs[3]:.1f}"])
    return rows


def make_detail_table(scores: Sequence[Score]) -> Table:
    """Make the table of what stands behind the accuracies: answers given, examples and evaluations used."""
    header = (
        "task, template, method, seed, accuracy, macro-F1, predicted shares, rows, labels, unlabelled, tried, seconds"
    )
    rows = [header.split(", ")]
    for s in scores:
        if s.accuracy is None:
            continue
        shares = " / ".join(f"{100 * share:.0f}" for share in s.predicted_shares)
        values = [s.task, s.template, s.method, str(s.seed), f"{100 * s.accuracy:.1f}", f"{100 * s.macro_f1:.1f}"]
        costs = [str(s.labelled), str(s.unlabelled), str(s.evaluations), f"{s.seconds:.1f}"]
        rows.append([*values, shares, str(s.num_examples), *costs])
    return rows


def make_generation_detail_table(scores: Sequence[Score]) -> Table:
    """Make the table of what stands behind the generated texts, in percent."""
    names = list(next(s.generation for s in scores if s.generation))
    rows = [["task", "template", "method", "seed", *names, "rows", "labels", "tried", "seconds"]]
    for s in scores:
        if s.generation:
            values = [f"{100 * s.generation[name]:.1f}" for name in names]
            costs = [str(s.num_examples), str(s.labelled), str(s.evaluations), f"{s.seconds:.1f}"]
            rows.append([s.task, s.template, s.method, str(s.seed), *values, *costs])
    return rows


def format_markdown_table(rows: Table) -> list[str]:
    """Write a table as lines of Markdown; the first row is the header."""
    escaped = [[escape_markdown(cell).replace("|", "\\|") for cell in row] for row in rows]
    header, *body = (f"| {' | '.join(row)} |" for row in escaped)
    return [header, "|" + "---|" * len(rows[0]), *body]
