"""Scores as a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from evaluation.aggregation import get_seed_means
from evaluation.plain_text import escape_math
from evaluation.score import Score, get_methods, get_tasks

DOTS_PER_INCH = 150
MOST_INCHES = 200  # wider pictures cannot be drawn


def draw_bars(scores: Sequence[Score], path: Path) -> None:
    """Draw a bar per method for each task, as PNG; the whiskers are the standard deviation over seeds.

    Accuracy, or ROUGE-L where a task has no answer choices.
    """
    from matplotlib.figure import Figure  # here, so that what draws nothing does not wait for it

    methods, tasks = get_methods(scores), get_tasks(scores)
    means = get_seed_means(scores, lambda score: score.main_value)
    width = 0.8 / len(methods)
    inches = 1.2 * len(tasks) + 0.12 * len(tasks) * len(methods)
    figure = Figure(figsize=(min(max(6, inches), MOST_INCHES), 4.5))
    axes = figure.subplots()
    for i, method in enumerate(methods):
        values = [list(means.get((method, task), {}).values()) for task in tasks]
        axes.bar(
            [x + (i - (len(methods) - 1) / 2) * width for x in range(len(tasks))],
            [100 * statistics.mean(v) if v else 0 for v in values],
            width,
            yerr=[100 * statistics.stdev(v) if len(v) > 1 else 0 for v in values],
            label=escape_math(method),
        )
    axes.set_xticks(range(len(tasks)), [escape_math(task) for task in tasks], rotation=30, ha="right")
    axes.set_ylabel("accuracy (%)" if all(s.generation is None for s in scores) else "accuracy or ROUGE-L (%)")
    axes.set_ylim(0, 100)
    axes.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
