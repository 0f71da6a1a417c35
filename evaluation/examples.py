"""What a method may see of a held-out data set, and what it is judged on.

Labeled few-shot examples and unlabeled examples are drawn from the training split and never among the evaluation rows;
labels of evaluation rows are used for nothing but the scores.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from datasets import Dataset

from search import examples_fingerprint
from search.scoring.fingerprints import compute_digest
from tasks import (
    DataError,
    FeatureBuilder,
    SplitRows,
    Task,
    few_shot_split,
    sample_rows,
    select_tasks_with_answers,
)

# Rows of an evaluation in the authors' experiments, except for hellaswag.
ORIGINAL_ROWS = 1000
# Rows that are held in memory at a time, as lists of tokens.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Draws:
    """Which examples of a held-out data set are used.

    Attributes:
        num_shots: Labeled examples; 0 where no method needs any.
        num_unlabelled: Unlabeled examples; 0 where no method needs any.
        judged: Whether there is an evaluation, which needs labeled rows.
        max_eval_samples: Evaluation rows, at most; drawn at random, the same ones for every seed, since many data sets
            are sorted by label.
        protocol: "clean" evaluates on all rows and draws exactly `num_shots` examples. "original" does as the
            authors' code: the first 1,000 rows (all of hellaswag), of WSC's rows with equal inputs one, and
            `ceil(num_shots / classes)` examples of each class.
    """

    num_shots: int = 32
    num_unlabelled: int = 64
    judged: bool = True
    max_eval_samples: int | None = None
    protocol: Literal["clean", "original"] = "clean"


@dataclass(frozen=True)
class TemplateExamples:
    """The tokenized examples of one held-out data set under one template; rows as `FeatureBuilder.evaluation` makes.

    `few_shot`, `unlabelled` and `evaluation` are None where they are not asked for.
    """

    task: Task
    few_shot: Dataset | None
    unlabelled: Dataset | None
    evaluation: Dataset | None

    @cached_property
    def digests(self) -> list[str | None]:
        """A digest of each of the three."""
        return [compute_rows_digest(part) for part in (self.few_shot, self.unlabelled, self.evaluation)]


def draw_examples(
    tasks: Sequence[Task], rows: SplitRows, builder: FeatureBuilder, draws: Draws, seed: int
) -> list[TemplateExamples]:
    """Draw and tokenize the examples of one data set, the same rows under each of its templates.

    Rows without a known answer are left out with their count, templates under which no row has one with a warning.

    Args:
        tasks: Tasks of one data set.
        rows: Rows of that data set.
        builder: Tokenizes them.
        draws: How many are drawn.
        seed: Random seed of both draws.

    Raises:
        DataError: The data set has too few rows, or its evaluation rows have no known answer under any template.
    """
    if draws.num_shots:
        tasks = select_tasks_with_answers(tasks, rows.train, rows.train_split)
    if draws.judged:
        tasks = select_tasks_with_answers(tasks, rows.evaluation, rows.evaluation_split)
    few_shot = unlabelled = evaluation = [None] * len(tasks)
    evaluation_rows = rows.evaluation
    if draws.num_shots:
        split = few_shot_split(tasks[0], rows, draws.num_shots, seed, exact=draws.protocol == "clean")
        evaluation_rows = split.evaluation
        if draws.judged and not len(evaluation_rows):
            raise DataError(
                f"Data set {rows.dataset!r} has no evaluation rows left after {draws.num_shots} few-shot rows: ask for "
                "fewer, or do without an evaluation."
            )
        few_shot = [builder.evaluation(task, split.train, labeled_only=True) for task in tasks]
    if draws.num_unlabelled:
        chosen = rows.train.select(draw_unlabelled_rows(rows, draws.num_unlabelled, seed))
        unlabelled = [builder.evaluation(task, chosen) for task in tasks]
    if draws.judged:
        if draws.protocol == "original":
            evaluation_rows = _select_original_rows(tasks[0], evaluation_rows)
        if draws.max_eval_samples is not None:
            evaluation_rows = sample_rows(tasks[0], evaluation_rows, draws.max_eval_samples)
        evaluation = [builder.evaluation(task, evaluation_rows, labeled_only=True) for task in tasks]
    return [TemplateExamples(*each) for each in zip(tasks, few_shot, unlabelled, evaluation, strict=True)]


def draw_unlabelled_rows(rows: SplitRows, count: int, seed: int) -> list[int]:
    """Draw numbers of rows of the training split, in order.

    Unlike few-shot rows these are drawn without a look at the labels, which would tell their balance.
    """
    size = len(rows.train)
    return sorted(random.Random(seed).sample(range(size), min(count, size)))


def select_common_rows(columns: Sequence[Dataset]) -> list[Dataset]:
    """Leave out the rows that some template does not apply to.

    Args:
        columns: One data set's examples, under each of several templates.

    Raises:
        DataError: No row is left.
    """
    common = set.intersection(*(set(features["row"]) for features in columns))
    if not common:
        raise DataError("No row is there under all templates: leave out those that apply to some kinds of rows only.")
    return [features.filter(lambda row: row in common, input_columns="row") for features in columns]


def split_rows(features: Dataset, block_rows: int = BLOCK_ROWS) -> Iterator[Dataset]:
    """Yield the rows in blocks, of which one at a time fits into memory however many rows there are."""
    for start in range(0, len(features), block_rows):
        yield features.select(range(start, min(start + block_rows, len(features))))


def compute_rows_digest(features: Dataset | None) -> str | None:
    """Compute a digest of tokenized rows; None where there are none."""
    if features is None:
        return None
    digests = [examples_fingerprint(block) for block in split_rows(features)]
    return digests[0] if len(digests) == 1 else compute_digest(digests)


def _select_original_rows(task: Task, rows: Dataset) -> Dataset:
    """The rows that the authors' code evaluates on."""
    if task.dataset.startswith("super_glue/wsc"):
        first: dict[str, int] = {}
        for index, row in enumerate(rows):
            example = task.example(row, index, check_answer=False)
            if example is not None:
                first.setdefault(example.input_text, index)
        rows = rows.select(first.values())
    return rows if task.dataset == "hellaswag" else rows.select(range(min(ORIGINAL_ROWS, len(rows))))
