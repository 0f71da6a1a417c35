"""Means over templates, then over tasks, for each seed; and then the mean and the deviation over the seeds."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from evaluation.score import Score

Value = Callable[[Score], float]
MeansBySeed = dict[int, float]


def get_seed_means(scores: Iterable[Score], value: Value) -> dict[tuple[str, str], MeansBySeed]:
    """Average over templates.

    Returns:
        For each method and task that has scores: the mean for each seed, in order of first appearance.
    """
    values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        values[score.method, score.task][score.seed].append(value(score))
    return {key: {seed: statistics.mean(v) for seed, v in by_seed.items()} for key, by_seed in values.items()}


def get_task_means(means: Mapping[tuple[str, str], MeansBySeed]) -> dict[str, MeansBySeed]:
    """Average over tasks what `get_seed_means` gave.

    For each seed first, so that a deviation over the seeds is that of the whole and not that of its tasks.

    Returns:
        For each method: the mean for each seed.
    """
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (method, _), by_seed in means.items():
        for seed, mean in by_seed.items():
            values[method][seed].append(mean)
    return {method: {seed: statistics.mean(v) for seed, v in by_seed.items()} for method, by_seed in values.items()}


def format_percent(values: Sequence[float]) -> str:
    """Write shares, one a seed, as their mean in percent, with the standard deviation where there are several."""
    if not values:
        return "–"
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
