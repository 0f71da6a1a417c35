"""Scores of methods on held-out tasks -> report.json, report.md, report.png and a table on the terminal."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

MOST_COLUMNS = 5  # of the table on the terminal


@dataclass(frozen=True)
class Score:
    """What one method reached on one held-out task.

    Attributes:
        task: The held-out data set.
        template: The template, of several perhaps, that asks it.
        method: Name of the method, a column of the tables.
        accuracy: Of rank classification on the evaluation rows, 0 to 1.
        macro_f1: Likewise, averaged over classes.
        predicted_shares: Share of each answer choice among the predictions; nearly 1 for one of them means that the
            method gives one answer to everything.
        num_examples: Evaluation rows.
        seed: Of the few-shot draw and the search.
        labelled: Labelled examples of the task that the method saw.
        unlabelled: Unlabelled examples that it saw.
        evaluations: Codes (or prompts) that it scored on those examples to find its answer.
        seconds: That it took to find it.
        code: The task code that it ended with, if any.
    """

    task: str
    template: str
    method: str
    accuracy: float
    macro_f1: float
    predicted_shares: list[float]
    num_examples: int
    seed: int
    labelled: int = 0
    unlabelled: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    code: list[int] | None = None


def save_scores(scores: Sequence[Score], path: Path, about: dict) -> None:
    """Write `report.json`: the scores, and `about`, what one must know of the run."""
    path.write_text(json.dumps({"about": about, "scores": [asdict(s) for s in scores]}, indent=1), encoding="utf-8")


def load_scores(path: Path) -> tuple[list[Score], dict]:
    """Read a `report.json`. Raises a ValueError naming the file if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Score(**score) for score in content["scores"]], content["about"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a report that run_ctr.py wrote ({error}).") from error


def methods_of(scores: Iterable[Score]) -> list[str]:
    """The methods, in order of first appearance."""
    return list(dict.fromkeys(score.method for score in scores))


def accuracy_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Header and rows of the accuracy table, in percent: tasks by methods, and the mean over tasks at the end.

    A cell is the mean over templates; with several seeds, mean ± standard deviation of that over the seeds.
    """
    methods = methods_of(scores)
    tasks = list(dict.fromkeys(score.task for score in scores))
    means = {task: [_by_seed(scores, method, task) for method in methods] for task in tasks}
    rows = [["task", *methods], *([task, *map(_mean_std, means[task])] for task in tasks)]
    if len(tasks) > 1:
        # Per seed first, so that the deviation is that of the whole row and not of its tasks.
        rows.append(["**mean**", *(_mean_std(_mean_of_tasks(scores, method)) for method in methods)])
    return rows


def detail_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Header and rows of what stands behind the accuracies: answers given, examples and evaluations used."""
    rows = [
        [
            "task",
            "template",
            "method",
            "accuracy",
            "macro-F1",
            "predicted shares",
            "rows",
            "labels",
            "unlabelled",
            "codes tried",
            "seconds",
        ]
    ]
    for s in scores:
        shares = " / ".join(f"{100 * share:.0f}" for share in s.predicted_shares)
        rows.append(
            [
                s.task,
                s.template,
                s.method,
                f"{100 * s.accuracy:.1f}",
                f"{100 * s.macro_f1:.1f}",
                shares,
                str(s.num_examples),
            ]
            + [str(s.labelled), str(s.unlabelled), str(s.evaluations), f"{s.seconds:.1f}"]
        )
    return rows


def write_report(scores: Sequence[Score], output_dir: Path, about: dict) -> None:
    """Write `report.json`, `report.md` and `report.png` into `output_dir`."""
    output_dir.mkdir(parents=True, exist_ok=True)
    save_scores(scores, output_dir / "report.json", about)
    lines = ["# Held-out tasks", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["## Accuracy (%)", "", *markdown_table(accuracy_rows(scores)), ""]
    lines += ["## Behind it", "", *markdown_table(detail_rows(scores)), ""]
    (output_dir / "report.md").write_text("\n".join(lines), encoding="utf-8")
    draw_bars(scores, output_dir / "report.png")


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first row is the header."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    header, *body = (f"| {' | '.join(row)} |" for row in escaped)
    return [header, "|" + "---|" * len(rows[0]), *body]


def print_table(scores: Sequence[Score], where: Path) -> None:
    """The accuracies on the terminal, a line per method; of many tasks only the mean, the others are in `where`."""
    header, *rows = accuracy_rows(scores)
    if len(rows) > MOST_COLUMNS:
        rows = rows[-1:]
    table = Table(title="Accuracy on held-out tasks (%)", caption=f"more in {where}")
    for i, name in enumerate([header[0], *(row[0].replace("**", "") for row in rows)]):
        table.add_column("method" if i == 0 else name, justify="left" if i == 0 else "right")
    for column, method in enumerate(header[1:], start=1):
        table.add_row(method, *(row[column] for row in rows))
    Console().print(table)


def draw_bars(scores: Sequence[Score], path: Path) -> None:
    """A bar per method for each task, as PNG; the whiskers are the standard deviation over seeds."""
    methods = methods_of(scores)
    tasks = list(dict.fromkeys(score.task for score in scores))
    width = 0.8 / len(methods)
    figure, axes = plt.subplots(figsize=(max(6, 1.2 * len(tasks) + 0.12 * len(tasks) * len(methods)), 4.5))
    for i, method in enumerate(methods):
        values = [_by_seed(scores, method, task) for task in tasks]
        axes.bar(
            [x + (i - (len(methods) - 1) / 2) * width for x in range(len(tasks))],
            [100 * statistics.mean(v) if v else 0 for v in values],
            width,
            yerr=[100 * statistics.stdev(v) if len(v) > 1 else 0 for v in values],
            label=method,
        )
    axes.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 100)
    axes.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _by_seed(scores: Iterable[Score], method: str, task: str) -> list[float]:
    """A method's accuracy on one task for each seed, averaged over templates."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for score in scores:
        if (score.method, score.task) == (method, task):
            by_seed[score.seed].append(score.accuracy)
    return [statistics.mean(values) for values in by_seed.values()]


def _mean_of_tasks(scores: Sequence[Score], method: str) -> list[float]:
    """A method's accuracy for each seed, averaged over templates, then over tasks."""
    means = []
    for seed in dict.fromkeys(s.seed for s in scores if s.method == method):
        of_seed = [s for s in scores if s.seed == seed]
        tasks = dict.fromkeys(s.task for s in of_seed if s.method == method)
        means.append(statistics.mean(_by_seed(of_seed, method, task)[0] for task in tasks))
    return means


def _mean_std(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
