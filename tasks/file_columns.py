"""Columns of a file with texts and labels: which they are, and what their cells hold."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset
from transformers.utils import logging

from .errors import DataError
from .field_values import is_missing
from .local_files import KINDS, load_files
from .splits import get_kind

logger = logging.get_logger(__name__)

Label = str | int | float | bool
# More different labels than this, and at least every second one different: these are texts and not classes.
_MOST_CLASSES = 200


def load_file(path: Path, sep: str | None, encoding: str | None) -> Dataset:
    """Loads the rows of a file of any kind.

    Raises:
        DataError: It is not there, cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    kind = get_kind(path)
    if kind is None:
        raise DataError(f"{path}: cannot tell the format of the file by its ending; use one of {', '.join(KINDS)}.")
    rows = load_files(kind, [path], sep, encoding)
    if not len(rows):
        raise DataError(f"{path} has no rows.")
    return rows


def choose_text_columns(
    rows: Dataset, path: Path, asked: str | Sequence[str] | None, label_column: str | None
) -> list[str]:
    """Chooses the columns of the texts: those asked for, `text`, or the only one that is no label.

    Raises:
        DataError: One is not there, or it is not clear which one is meant.
    """
    columns = rows.column_names
    if asked is not None:
        chosen = [asked] if isinstance(asked, str) else list(asked)
        for column in chosen:
            if column not in columns:
                raise DataError(f"{path} has no column {column!r} for the texts, but {', '.join(columns)}.")
        return chosen
    others = [column for column in columns if column not in (label_column, "label")]
    chosen = ["text"] if "text" in others else others
    if len(chosen) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}: say which of them hold the texts (text_column)."
        )
    return chosen


def choose_label_column(rows: Dataset, path: Path, asked: str | None, needed: bool) -> str | None:
    """Chooses the column of the labels: the one asked for, or `label`; None where it is not needed and not there.

    Raises:
        DataError: It is not there, but asked for or needed.
    """
    column = asked or "label"
    if column in rows.column_names:
        return column
    if asked is not None or needed:
        raise DataError(
            f"{path} has no column {column!r} for the labels, but {', '.join(rows.column_names)}: name it "
            "(label_column), or give the answers where there are no labels."
        )
    return None


def describe_cell(path: Path, index: int, column: str) -> str:
    """Names file, row and column of a cell; rows of tables are counted as programs show them, with the first line as row 1."""
    return f"{path}, row {index + (2 if get_kind(path) == 'csv' else 1)}, column {column!r}"


def check_texts(rows: Dataset, path: Path, columns: Iterable[str]) -> None:
    """Checks that the columns hold texts, and warns of rows without one.

    Raises:
        DataError: A column is not there or has no text at all, or a cell holds a list or mapping.
    """
    for column in columns:
        if column not in rows.column_names:
            raise DataError(f"{path} has no column {column!r} for the texts, but {', '.join(rows.column_names)}.")
        blank = 0
        for index, value in enumerate(rows[column]):
            if isinstance(value, (list, dict, bytes)):
                raise DataError(f"{describe_cell(path, index, column)}: a {type(value).__name__} is no text.")
            blank += _is_absent(value)
        if blank == len(rows):
            raise DataError(f"{path}: the column {column!r} has no text in any row.")
        if blank:
            logger.warning(f"{path}: {blank} of {len(rows)} rows have no text in the column {column!r}.")


def _is_absent(value: Any) -> bool:
    return is_missing(value) or not str(value).strip()


def get_labels(rows: Dataset, path: Path, column: str) -> list[Label | None]:
    """Reads the label of each row; None where there is none.

    Raises:
        DataError: A cell holds what is no label.
    """
    kind = rows.features[column]
    labels: list[Label | None] = []
    for index, value in enumerate(rows[column]):
        if isinstance(kind, ClassLabel):
            value = None if value is None or value < 0 else kind.int2str(value)
        if isinstance(value, str):
            value = value.strip()
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise DataError(f"{describe_cell(path, index, column)}: a {type(value).__name__} is no label.")
        labels.append(None if _is_absent(value) else value)
    return labels


def find_labels(rows: Dataset, path: Path, column: str) -> list[Label]:
    """Finds the different labels, numbers by size and texts by the alphabet.

    Raises:
        DataError: There are none, only one, or so many that they are no classes.
    """
    labels = [label for label in get_labels(rows, path, column) if label is not None]
    if not labels:
        raise DataError(f"{path}: the column {column!r} has no label in any row.")
    distinct = list({str(label): label for label in labels}.values())
    if len(distinct) > _MOST_CLASSES and 2 * len(distinct) > len(labels):
        raise DataError(
            f"{path}: the column {column!r} has {len(distinct)} different labels in {len(labels)} rows; these are texts "
            "and not classes: ask for a free-form task, or name another column."
        )
    if len(distinct) == 1:
        raise DataError(
            f"{path}: all rows have the label {distinct[0]!r} in the column {column!r}; a choice needs rows of at least "
            "two, or answers for those that no row has."
        )
    if all(isinstance(label, (int, float)) for label in distinct):
        return sorted(distinct)
    return sorted(distinct, key=str)
