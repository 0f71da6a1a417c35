"""Scores of methods on held-out tasks -> report.json, report.md, report.png and a table on the terminal."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

MOST_COLUMNS = 5  # of the table on the terminal
MAJORITY = "majority class"
# From the result files of the authors' repository: accuracies in percent of the three methods.
RECORDED_MODEL = "T5-large"
RECORDED_METHODS = ("Code Ensemble", "training code by loss", "Bitwise Search")
RECORDED = {
    "anli/r1": (33.4, 33.0, 35.0),
    "anli/r2": (34.4, 32.6, 32.9),
    "anli/r3": (33.8, 35.7, 38.7),
    "super_glue/cb": (87.5, 60.7, 78.6),
    "super_glue/copa": (92.0, 84.8, 91.0),
    "hellaswag": (27.6, 39.6, 34.9),
    "super_glue/rte": (80.5, 78.6, 81.2),
    "story_cloze/2016": (90.1, 93.3, 92.0),
    "super_glue/wic": (56.6, 52.6, 56.6),
    "super_glue/wsc.fixed": (62.5, 62.3, 68.2),
    "winogrande/winogrande_xl": (49.4, 56.9, 55.2),
}


@dataclass(frozen=True)
class Score:
    """What one method reached on one held-out task.

    Attributes:
        task: The held-out data set.
        template: The template, of several perhaps, that asks it.
        method: Name of the method, a column of the tables.
        num_examples: Evaluation rows.
        seed: Of the few-shot draw and the search.
        accuracy: Of rank classification on the evaluation rows, 0 to 1; None for tasks without answer choices.
        macro_f1: Likewise, averaged over classes.
        predicted_shares: Share of each answer choice among the predictions; nearly 1 for one of them means that the
            method gives one answer to everything.
        generation: Of tasks without answer choices: `exact_match`, `f1`, `rouge1`, `rouge2` and `rougeL`, 0 to 1.
        labelled: Labelled examples of the task that the method saw.
        unlabelled: Unlabelled examples that it saw.
        evaluations: Codes, prompts or gradient steps that it tried on those examples to find its answer.
        seconds: That it took to find it.
        code: The task code that it ended with, if any.
    """

    task: str
    template: str
    method: str
    num_examples: int
    seed: int
    accuracy: float | None = None
    macro_f1: float | None = None
    predicted_shares: list[float] | None = None
    generation: dict[str, float] | None = None
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


def join_reports(directories: Sequence[str | Path], output_dir: Path) -> list[Score]:
    """Join the reports of several runs, such as of other tasks, other models or other methods, into one.

    What several runs scored with the same result, such as the majority class, stands in it once. Where they scored the
    same thing differently, the method's name is followed by the name of the run's directory (its path, where several have
    the same name).

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
            values[_what(score)].add(_main_value(score))
    ambiguous = {score.method for scores in reports.values() for score in scores if len(values[_what(score)]) > 1}
    joined: dict[tuple, Score] = {}
    for run, scores in reports.items():
        for score in scores:
            if score.method in ambiguous:
                score = replace(score, method=f"{score.method} ({run})")
            joined.setdefault(_what(score), score)
    write_report(list(joined.values()), output_dir, about)
    return list(joined.values())


def _what(score: Score) -> tuple[str, str, str, int]:
    # The majority class is the same under all templates.
    template = "" if score.method == MAJORITY else score.template
    return score.task, template, score.method, score.seed


def methods_of(scores: Iterable[Score]) -> list[str]:
    """The methods, in order of first appearance."""
    return list(dict.fromkeys(score.method for score in scores))


def accuracy_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Header and rows of the accuracy table, in percent: tasks by methods, and the mean over tasks at the end.

    A cell is the mean over templates; with several seeds, mean ± standard deviation of that over the seeds. There is no
    deviation where seeds are nothing to the method: it saw no drawn examples and is the same with all of them. A mean of
    fewer tasks than there are says of how many.
    """
    return _score_rows([s for s in scores if s.accuracy is not None], lambda score: score.accuracy)


def generation_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Likewise for tasks without answer choices: ROUGE-L."""
    return _score_rows([s for s in scores if s.generation], lambda score: score.generation["rougeL"])


def _score_rows(scores: Sequence[Score], value: Callable[[Score], float]) -> list[list[str]]:
    methods = methods_of(scores)
    tasks = list(dict.fromkeys(score.task for score in scores))
    means = {task: [_by_seed(scores, method, task, value) for method in methods] for task in tasks}
    drawn = {score.method for score in scores if score.labelled or score.unlabelled}

    def cells(of_methods: Iterable[list[float]]) -> list[str]:
        return [
            _mean_std(values[:1] if method not in drawn and len(set(values)) == 1 else values)
            for method, values in zip(methods, of_methods, strict=True)
        ]

    rows = [["task", *methods], *([task, *cells(means[task])] for task in tasks)]
    if len(tasks) > 1:
        # Per seed first, so that the deviation is that of the whole row and not of its tasks.
        rows.append(["**mean**", *cells(_mean_of_tasks(scores, method, value) for method in methods)])
        for column in range(1, len(methods) + 1):
            covered = sum(bool(of_task[column - 1]) for of_task in means.values())
            if covered < len(tasks):
                rows[-1][column] += f" ({covered} of {len(tasks)} tasks)"
    return rows


def recorded_rows(scores: Sequence[Score]) -> list[list[str]]:
    """What the authors recorded, of the data sets among the scores, and its mean; empty where there are none."""
    tasks = [task for task in dict.fromkeys(s.task for s in scores) if task in RECORDED]
    if not tasks:
        return []
    rows = [["task", *(f"{method} (authors', {RECORDED_MODEL})" for method in RECORDED_METHODS)]]
    rows += [[task, *(f"{value:.1f}" for value in RECORDED[task])] for task in tasks]
    if len(tasks) > 1:
        means = map(statistics.mean, zip(*(RECORDED[task] for task in tasks), strict=True))
        rows.append(["**mean**", *(f"{mean:.1f}" for mean in means)])
    return rows


def spread_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Of methods scored under several templates or prompts of a task: how accuracy varies over these, in percent.

    Over seeds the mean is taken first. Empty where there is one template of everything.
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


def cost_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Header and rows of what each method costs: means over tasks, templates and seeds."""
    rows = [["method", "labels", "unlabelled", "tried", "seconds"]]
    for method in methods_of(scores):
        of_method = [s for s in scores if s.method == method]
        costs = [
            statistics.mean(getattr(s, name) for s in of_method)
            for name in ("labelled", "unlabelled", "evaluations", "seconds")
        ]
        if any(costs):
            rows.append([method, *(f"{cost:.0f}" for cost in costs[:3]), f"{costs[3]:.1f}"])
    return rows


def detail_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Header and rows of what stands behind the accuracies: answers given, examples and evaluations used."""
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


def generation_detail_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Likewise for generated texts, in percent."""
    names = list(next(s.generation for s in scores if s.generation))
    rows = [["task", "template", "method", "seed", *names, "rows", "labels", "tried", "seconds"]]
    for s in scores:
        if s.generation:
            values = [f"{100 * s.generation[name]:.1f}" for name in names]
            costs = [str(s.num_examples), str(s.labelled), str(s.evaluations), f"{s.seconds:.1f}"]
            rows.append([s.task, s.template, s.method, str(s.seed), *values, *costs])
    return rows


def write_report(scores: Sequence[Score], output_dir: Path, about: dict) -> None:
    """Write `report.json`, `report.md` and `report.png` into `output_dir`."""
    output_dir.mkdir(parents=True, exist_ok=True)
    save_scores(scores, output_dir / "report.json", about)
    ranked = any(score.accuracy is not None for score in scores)
    generated = any(score.generation for score in scores)
    lines = ["# Held-out tasks", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    if ranked:
        lines += ["## Accuracy (%)", "", *markdown_table(accuracy_rows(scores)), ""]
        if recorded := recorded_rows(scores):
            lines += [
                f"Recorded by the method's authors with {RECORDED_MODEL}, another model than the above:",
                "",
                *markdown_table(recorded),
                "",
            ]
        if spread := spread_rows(scores):
            lines += ["## Over templates (%)", "", *markdown_table(spread), ""]
    if generated:
        lines += ["## Generated texts, ROUGE-L (%)", "", *markdown_table(generation_rows(scores)), ""]
    lines += ["## Cost", "", "Means over tasks, templates and seeds.", "", *markdown_table(cost_rows(scores)), ""]
    if ranked:
        lines += ["## Behind it", "", *markdown_table(detail_rows(scores)), ""]
    if generated:
        lines += ["## Behind the generated texts", "", *markdown_table(generation_detail_rows(scores)), ""]
    (output_dir / "report.md").write_text("\n".join(lines), encoding="utf-8")
    draw_bars(scores, output_dir / "report.png")


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first row is the header."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    header, *body = (f"| {' | '.join(row)} |" for row in escaped)
    return [header, "|" + "---|" * len(rows[0]), *body]


def print_table(scores: Sequence[Score], where: Path) -> None:
    """The accuracies on the terminal, a line per method; of many tasks only the mean, the others are in `where`."""
    ranked = any(score.accuracy is not None for score in scores)
    header, *rows = accuracy_rows(scores) if ranked else generation_rows(scores)
    if len(rows) > MOST_COLUMNS:
        rows = rows[-1:]
    table = Table(title=f"{'Accuracy' if ranked else 'ROUGE-L'} on held-out tasks (%)", caption=f"more in {where}")
    for i, name in enumerate([header[0], *(row[0].replace("**", "") for row in rows)]):
        table.add_column("method" if i == 0 else name, justify="left" if i == 0 else "right")
    for column, method in enumerate(header[1:], start=1):
        table.add_row(method, *(row[column] for row in rows))
    Console().print(table)


def draw_bars(scores: Sequence[Score], path: Path) -> None:
    """A bar per method for each task, as PNG; the whiskers are the standard deviation over seeds.

    Accuracy, or ROUGE-L where a task has no answer choices.
    """
    methods = methods_of(scores)
    tasks = list(dict.fromkeys(score.task for score in scores))
    width = 0.8 / len(methods)
    figure, axes = plt.subplots(figsize=(max(6, 1.2 * len(tasks) + 0.12 * len(tasks) * len(methods)), 4.5))
    for i, method in enumerate(methods):
        values = [_by_seed(scores, method, task, _main_value) for task in tasks]
        axes.bar(
            [x + (i - (len(methods) - 1) / 2) * width for x in range(len(tasks))],
            [100 * statistics.mean(v) if v else 0 for v in values],
            width,
            yerr=[100 * statistics.stdev(v) if len(v) > 1 else 0 for v in values],
            label=method,
        )
    axes.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
    axes.set_ylabel("accuracy (%)" if all(s.generation is None for s in scores) else "accuracy or ROUGE-L (%)")
    axes.set_ylim(0, 100)
    axes.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _main_value(score: Score) -> float:
    return score.generation["rougeL"] if score.generation else score.accuracy


def _by_seed(scores: Iterable[Score], method: str, task: str, value: Callable[[Score], float]) -> list[float]:
    """A method's value on one task for each seed, averaged over templates."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for score in scores:
        if (score.method, score.task) == (method, task):
            by_seed[score.seed].append(value(score))
    return [statistics.mean(values) for values in by_seed.values()]


def _mean_of_tasks(scores: Sequence[Score], method: str, value: Callable[[Score], float]) -> list[float]:
    """A method's value for each seed, averaged over templates, then over tasks."""
    means = []
    for seed in dict.fromkeys(s.seed for s in scores if s.method == method):
        of_seed = [s for s in scores if s.seed == seed]
        tasks = dict.fromkeys(s.task for s in of_seed if s.method == method)
        means.append(statistics.mean(_by_seed(of_seed, method, task, value)[0] for task in tasks))
    return means


def _mean_std(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
