"""How many examples of which task a training run sees.

As in the paper: every data set counts with at most 50,000 examples, split over its templates, and examples are drawn
in proportion to size. That is done by selecting rows per task once and concatenating: a shuffled pass then draws in the
right proportions, and a task's rows are tokenized and cached on their own.
"""

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Literal

import datasets
from datasets import Dataset, IterableDataset, concatenate_datasets, interleave_datasets
from tqdm import tqdm

from .errors import DataError
from .features import FeatureBuilder
from .task import Task

Mixing = Literal["proportional", "temperature", "equal"]


def compute_mixture_counts(
    task_datasets: Sequence[str],
    dataset_sizes: Mapping[str, int],
    cap: int = 50_000,
    mixing: Mixing = "proportional",
    temperature: float = 2.0,
) -> list[int]:
    """Numbers of examples per task.

    Args:
        task_datasets: The data set of each task.
        dataset_sizes: Rows of each data set.
        cap: Greatest number of examples of a data set, over all its templates. A template gets its even share of the
            cap, or all rows where there are fewer.
        mixing: `proportional` leaves these numbers; `temperature` makes them proportional to their
            `1 / temperature`-th power, `equal` the same for every task, both with the same sum.
        temperature: 1 is `proportional`, infinity is `equal`.

    Returns:
        One number per task. With `temperature` and `equal` it may be more than the data set's rows, which are then
        repeated.

    Raises:
        ValueError: Unknown mixing, or a temperature or cap too small.
    """
    if mixing not in ("proportional", "temperature", "equal"):
        raise ValueError(f"mixing is {mixing!r}; it must be 'proportional', 'temperature' or 'equal'.")
    if temperature < 1:
        raise ValueError(f"The mixing temperature is {temperature}; it must be at least 1.")
    templates: dict[str, int] = {}
    counts = []
    totals = {dataset: task_datasets.count(dataset) for dataset in set(task_datasets)}
    for dataset in task_datasets:
        position = templates[dataset] = templates.get(dataset, -1) + 1
        # What the cap leaves over after even division goes to the first templates, one each.
        share, rest = divmod(cap, totals[dataset])
        counts.append(min(dataset_sizes[dataset], share + (position < rest)))
    if 0 in counts:
        raise ValueError(f"A cap of {cap} examples per data set leaves some of its templates with none; raise it.")
    if mixing == "proportional":
        return counts
    weights = [1.0 if mixing == "equal" else count ** (1 / temperature) for count in counts]
    return _apportion(sum(counts), weights)


def draw_mixture_rows(num_rows: int, count: int, seed: str) -> list[int]:
    """Row indices of one task: a random choice, or, where more are wanted than there are, whole passes and a rest."""
    passes, rest = divmod(count, num_rows)
    return list(range(num_rows)) * passes + sorted(random.Random(seed).sample(range(num_rows), rest))


def training_mixture(
    tasks: Sequence[Task],
    rows: Mapping[str, Dataset],
    builder: FeatureBuilder,
    cap: int = 50_000,
    mixing: Mixing = "proportional",
    temperature: float = 2.0,
    seed: int = 42,
) -> Dataset:
    """Training features of all tasks; a task's id is its position in `tasks`.

    Args:
        tasks: The training tasks.
        rows: Training rows of each data set.
        builder: Makes the features.
        cap: Greatest number of examples of a data set, over all its templates.
        mixing: How the numbers of examples per task are balanced; see `compute_mixture_counts`.
        temperature: Temperature of `mixing`; 1 leaves proportions as they are.
        seed: Random seed of the rows that are chosen where a data set has more than its share. The choice for a task depends on
            its name and its count only, not on which other tasks there are.

    Returns:
        Columns `input_ids`, `labels`, `task_id`; ordered by task, to be shuffled by the trainer.
    """
    sizes = {dataset: len(rows[dataset]) for dataset in {task.dataset for task in tasks}}
    counts = compute_mixture_counts([task.dataset for task in tasks], sizes, cap, mixing, temperature)
    parts = []
    # One bar for all tasks instead of one for each of hundreds.
    bars_were_on = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        for task_id, (task, count) in enumerate(tqdm(list(zip(tasks, counts, strict=True)), desc="Tokenizing tasks")):
            task_rows = rows[task.dataset]
            if count != len(task_rows):
                task_rows = task_rows.select(draw_mixture_rows(len(task_rows), count, f"{seed} {task.name}"))
            parts.append(builder.training(task, task_rows, task_id))
    finally:
        if bars_were_on:
            datasets.enable_progress_bars()
    return concatenate_datasets(parts)


def streaming_mixture(
    tasks: Sequence[Task],
    rows: Mapping[str, IterableDataset],
    builder: FeatureBuilder,
    cap: int = 50_000,
    mixing: Mixing = "proportional",
    temperature: float = 2.0,
    seed: int = 42,
) -> IterableDataset:
    """Training features of all tasks without end, read and made when they are asked for.

    Which task is next is drawn with the probabilities that tasks have in `training_mixture`, which takes reading each
    data set once, up to `cap` rows. A task gets its data set's rows from the first to the last, in the order of the
    files, and then again: a cap limits how often they come, not which ones do.

    Args:
        tasks: The training tasks.
        rows: Training rows of each data set, as streams.
        builder: Makes the features.
        cap, mixing, temperature: Numbers of examples, as for `training_mixture`.
        seed: Random seed of the order in which tasks come.

    Returns:
        Columns `input_ids`, `labels`, `task_id`; neither length nor end. Its `state_dict` is exact.

    Raises:
        DataError: A data set has no rows, or a task no example.
    """
    sizes = {}
    for dataset in tqdm({task.dataset: None for task in tasks}, desc="Counting rows"):
        sizes[dataset] = sum(1 for _ in rows[dataset].take(cap))
        if not sizes[dataset]:
            raise DataError(f"Data set {dataset!r} has no rows.")
    counts = compute_mixture_counts([task.dataset for task in tasks], sizes, cap, mixing, temperature)
    for task_id, task in enumerate(tasks):
        if next(iter(builder.streaming(task, rows[task.dataset], task_id)), None) is None:
            raise DataError(f"Task {task.name!r} has no example: none of its rows has an input and a target.")
    streams = [
        # A copy, since each keeps its own place.
        builder.streaming(task, copy.deepcopy(rows[task.dataset]), task_id).repeat(None)
        for task_id, task in enumerate(tasks)
    ]
    probabilities = [count / sum(counts) for count in counts]
    return interleave_datasets(streams, probabilities=probabilities, seed=seed, stopping_strategy="all_exhausted")


def _apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers, at least 1, proportional to the weights and with the given sum (largest remainders)."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [max(1, int(value)) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: int(exact[index]) - exact[index])
    for index in by_remainder[: max(0, total - sum(counts))]:
        counts[index] += 1
    return counts
