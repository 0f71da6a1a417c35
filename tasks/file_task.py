"""A task from files alone: texts in some columns, labels in another, and no template file.

    task, rows = task_from_files("train.csv", "dev.csv", text_columns="review", label_column="stars")

The input is the texts, each on a line; the answer choices are the labels as they stand in the file, unless others are
given. `load_file_rows` loads further rows for the task, such as those to predict, with or without labels.
"""

import keyword
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.utils import logging

from .data import SplitRows
from .errors import DataError
from .file_columns import (
    Label,
    check_texts,
    choose_label_column,
    choose_text_columns,
    describe_cell,
    find_labels,
    get_labels,
    load_file,
)
from .jinja_sandbox import ANSWER_CHOICES
from .task import Task
from .template import Template
from .template_usage import SEPARATOR

logger = logging.get_logger(__name__)

# The field that a label's position among the answers is kept in, beside the label itself.
LABEL_POSITION = "label_position"
_RESERVED = {LABEL_POSITION, *keyword.kwlist, *map(str.lower, keyword.kwlist), ANSWER_CHOICES, "loop", "self", "set"}


def task_from_files(
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    test_file: str | Path | None = None,
    *,
    text_columns: str | Sequence[str] | None = None,
    label_column: str | None = None,
    answers: Sequence[str] | Mapping[Any, str] | None = None,
    free_form: bool = False,
    name: str | None = None,
    sep: str | None = None,
    encoding: str | None = None,
) -> tuple[Task, SplitRows]:
    """Makes a task of files (CSV, TSV, JSON, JSON lines or Parquet), and loads their rows.

    Args:
        train_file: Rows to draw few-shot and unlabelled examples from; without it those of the first file given.
        validation_file: Rows to evaluate on; without it the test file's where they have labels, else the training
            file's (a few-shot draw takes its rows out of them).
        test_file: See `validation_file`.
        text_columns: The columns of the input, in order; None takes `text`, or the only column that is no label.
        label_column: The column of the labels; None takes `label` where there is one.
        answers: The answer choices: all labels, in any order and with those that no training row has; or other texts in
            the order of the labels (numbers by size, texts by the alphabet); or a mapping from labels to texts, which
            may have labels that no training row has. None takes the labels.
        free_form: The label column holds texts to generate, and there are no answer choices.
        name: Name of the data set; None takes that of the first file.
        sep: Separator of the fields of CSV files; None finds it out.
        encoding: Encoding of text files; None finds it out by a byte order mark, or takes UTF-8.

    Returns:
        The task, whose `labels` and `answers` are the label values and their texts, and the rows, which keep all
        columns; names that a template cannot use are changed (`to_field_name`). Labels that are missing, or that the
        training rows do not have, count as unknown.

    Raises:
        DataError: No file is given, one cannot be read, a column or all labels are missing, a cell is no text or no
            label (with file, row and column), or the answers do not fit the labels.
    """
    paths = {"train": train_file, "validation": validation_file, "test": test_file}
    files = {split: Path(path) for split, path in paths.items() if path is not None}
    if not files:
        raise DataError("No file of rows is given: name a train_file, validation_file or test_file.")
    rows = {split: load_file(path, sep, encoding) for split, path in files.items()}
    train_split = next(iter(files))
    texts = choose_text_columns(rows[train_split], files[train_split], text_columns, label_column)
    labels = choose_label_column(rows[train_split], files[train_split], label_column, answers is None or free_form)
    for split, path in files.items():
        check_texts(rows[split], path, texts)
    name = name or files[train_split].name.partition(".")[0]
    if free_form:
        task = _build_task(name, texts, str(labels), None, None)
    else:
        values = [] if labels is None else find_labels(rows[train_split], files[train_split], labels)
        values, verbalized = _match_answers(values, answers)
        task = _build_task(name, texts, labels, values, verbalized)
    prepared = {split: _prepare(task, rows[split], files[split], labels) for split in files}
    evaluation_split = "validation" if "validation" in files else train_split
    if "validation" not in files and "test" in files and labels in rows["test"].column_names:
        evaluation_split = "test"
    return task, SplitRows(name, prepared[train_split], prepared[evaluation_split], train_split, evaluation_split)


def load_file_rows(
    task: Task,
    file: str | Path,
    *,
    label_column: str | None = None,
    sep: str | None = None,
    encoding: str | None = None,
) -> Dataset:
    """Loads rows for a task of `task_from_files`, with or without labels.

    Args:
        task: The task.
        file: The file.
        label_column: The column of the labels, which need not be there.
        sep, encoding: As for `task_from_files`.

    Returns:
        All rows and columns, in their order.

    Raises:
        DataError: The file cannot be read, or lacks a column of the task's texts.
    """
    path = Path(file)
    rows = load_file(path, sep, encoding)
    by_field = {to_field_name(column): column for column in rows.column_names}
    fields = sorted(task.template.input_fields)
    if missing := [field for field in fields if field not in by_field]:
        raise DataError(f"{path} has no column {missing[0]!r}, but {', '.join(rows.column_names)}.")
    check_texts(rows, path, [by_field[field] for field in fields])
    return _prepare(task, rows, path, label_column if label_column in rows.column_names else None)


def to_field_name(column: str) -> str:
    """Returns the column's name as a template can use it: `my text` becomes `my_text`, `class` becomes `class_`."""
    field = re.sub(r"\W", "_", column.strip())
    if not field or field[0].isdigit():
        field = f"_{field}"
    return f"{field}_" if field in _RESERVED else field


def _match_answers(
    labels: list[Label], answers: Sequence[str] | Mapping[Any, str] | None
) -> tuple[list[Label], list[str]]:
    """Labels in class order, and the text of each."""
    if isinstance(answers, Mapping):
        by_text = {str(label): text for label, text in answers.items()}
        if lacking := [label for label in labels if str(label) not in by_text]:
            raise DataError(
                f"The answers have no text for the label {lacking[0]!r}; they are for {', '.join(by_text)}."
            )
        known = {str(label): label for label in labels}
        labels = labels + [label for label in answers if str(label) not in known]
        texts = [by_text[str(label)] for label in labels]
    elif answers is None:
        texts = [str(label) for label in labels]
    else:
        texts = list(answers)
        if {str(label) for label in labels} <= set(texts):  # the labels themselves, and more that no row has, or none
            known = {str(label): label for label in labels}
            labels = [known.get(text, text) for text in texts]
        if len(texts) != len(labels):
            raise DataError(
                f"{len(texts)} answers are given, but there are {len(labels)} labels: {', '.join(map(str, labels))}."
            )
    texts = [str(text).strip() for text in texts]
    if len(texts) < 2:
        raise DataError("A choice needs at least two answers.")
    for position, text in enumerate(texts):
        if not text:
            raise DataError(f"The answer for the label {labels[position]!r} is blank.")
        if SEPARATOR in text:
            raise DataError(f"The answer {text!r} holds {SEPARATOR!r}, which stands between answers.")
        if text in texts[:position]:
            raise DataError(f"The answer {text!r} is given for two labels.")
    return labels, texts


def _build_task(
    name: str, texts: Sequence[str], label_column: str | None, labels: list[Label] | None, answers: list[str] | None
) -> Task:
    fields = [to_field_name(column) for column in texts]
    source = "\n".join(f"{{{{{field}}}}}" for field in fields)
    target = LABEL_POSITION if answers is not None else to_field_name(label_column or "label")
    # Rows to predict have no such field.
    expression = target if answers is None else f"{ANSWER_CHOICES}[{target}]"
    source += f" {SEPARATOR} {{% if {target} is defined %}}{{{{{expression}}}}}{{% endif %}}"
    choices = None if answers is None else f" {SEPARATOR} ".join(map(_escape, answers))
    template = Template("_".join(fields), source, choices)
    return Task(
        f"{name}/{template.name}",
        name,
        template,
        labels=None if labels is None else tuple(labels),
        answers=None if answers is None else tuple(answers),
    )


def _escape(text: str) -> str:
    return f"{{% raw %}}{text}{{% endraw %}}" if "{" in text else text


def _prepare(task: Task, rows: Dataset, path: Path, label_column: str | None) -> Dataset:
    """The rows under the names of the task's fields, with the position of each label, -1 where it is unknown."""
    names: dict[str, str] = {}
    for column in rows.column_names:
        field = to_field_name(column)
        while field in names.values():
            field += "_"
        names[column] = field
    changed = {column: field for column, field in names.items() if column != field}
    labels = None
    if task.labels is not None and label_column is not None and label_column in rows.column_names:
        labels = get_labels(rows, path, label_column)
    rows = rows.rename_columns(changed) if changed else rows
    if labels is None:
        return rows
    positions = {str(label): position for position, label in enumerate(task.labels or ())}
    unseen = [index for index, label in enumerate(labels) if label is not None and str(label) not in positions]
    if unseen:
        logger.warning(
            f"{describe_cell(path, unseen[0], label_column or '')}: the label {labels[unseen[0]]!r} is none of "
            f"{', '.join(positions)}; the answers of {len(unseen)} of {len(rows)} rows count as unknown."
        )
    if missing := sum(label is None for label in labels):
        logger.warning(f"{path}: {missing} of {len(rows)} rows have no label in the column {label_column!r}.")
    indices = [-1 if label is None else positions.get(str(label), -1) for label in labels]
    return rows.add_column(LABEL_POSITION, indices)
