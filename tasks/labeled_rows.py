"""Which rows have a known answer, and a fair sample of them."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers.utils import logging

from .errors import DataError
from .task import Task

logger = logging.get_logger(__name__)

# The same evaluation rows in every run, whatever the seed of the few-shot draw.
SAMPLE_SEED = 42


def has_answer(task: Task, row: Mapping[str, Any], index: int | None = None) -> bool:
    """Tells whether the row has a target and, where the task has answer choices, one that is among them.

    Raises:
        TemplateError: The template fails on the row.
    """
    example = task.example(row, index, check_answer=False)
    if example is None:
        return False
    return example.answer is not None if task.has_choices else bool(example.target_text)


def select_tasks_with_answers(tasks: Sequence[Task], rows: Dataset, split: str) -> list[Task]:
    """Leaves out, with a warning, the tasks under which no row has a known answer (some of PromptSource are such).

    Args:
        tasks: Tasks of one data set.
        rows: Rows of it.
        split: Name of their split, for the messages.

    Raises:
        DataError: All tasks would be left out; the message says why of the first.
        TemplateError: A template fails on a row.
    """
    kept, reasons = [], []
    for task in tasks:
        if any(has_answer(task, row, index) for index, row in enumerate(rows)):
            kept.append(task)
        else:
            reasons.append(_explain_no_answer(task, rows, split))
    if not kept:
        raise DataError(reasons[0])
    for reason in reasons:
        logger.warning(f"{reason} The template is left out.")
    return kept


def _explain_no_answer(task: Task, rows: Dataset, split: str) -> str:
    what = f"Task {task.name!r}: none of the {len(rows)} rows of split {split!r} has a known answer"
    for index, row in enumerate(rows):
        example = task.example(row, index, check_answer=False)
        if example is not None and example.target_text:
            return (
                f"{what}; that of row {index}, {example.target_text!r:.200}, is not among the answer choices "
                f"{example.choices!r:.200}."
            )
    return f"{what}: their label, or their text, is missing."


def sample_rows(task: Task, rows: Dataset, count: int, seed: int = SAMPLE_SEED) -> Dataset:
    """Draws rows with a known answer; data sets are often sorted by label, so that their first rows are of one class.

    Args:
        task: Tells which rows have a known answer.
        rows: Rows of its data set.
        count: Greatest number of rows to draw.
        seed: Random seed of the draw.

    Returns:
        The drawn rows in their order in the data set; all rows, with and without answers, where they are no more than
        `count`.
    """
    if len(rows) <= count:
        return rows
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    chosen = []
    for index in order:
        if has_answer(task, rows[index], index):
            chosen.append(index)
            if len(chosen) == count:
                break
    return rows.select(sorted(chosen))
