"""What a row's values mean to a template: which are missing, and which answer choice a label stands for."""

from collections.abc import Iterable, Mapping
from typing import Any


def is_missing(value: Any) -> bool:
    """Tells whether a field has no value: None, or the NaN that tables have for it."""
    return value is None or (isinstance(value, float) and value != value)


def is_blank(value: Any) -> bool:
    """Tells whether nothing of a value can be seen: it is missing, white space, or made of such values."""
    if isinstance(value, Mapping):
        return all(map(is_blank, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_blank, value))
    return is_missing(value) or (isinstance(value, str) and not value.strip())


class AnswerChoices(list):
    """Answer choices, by a row's label: its position from 0, a missing label or -1 giving an empty text.

    Blank ones at the end, options that the row lacks, do not show, but have their positions.
    """

    def __init__(self, choices: Iterable[str]):
        super().__init__(choices)
        self._positions = len(self)
        while self and not super().__getitem__(-1):
            self.pop()

    def __getitem__(self, label: Any) -> Any:
        if isinstance(label, str):
            label = _read_label(label)
        if is_missing(label) or (isinstance(label, (int, float)) and label == -1):
            return ""
        if isinstance(label, (int, float)) and len(self) <= label < self._positions:
            return ""
        # As a column of integers is read from a table in which some are missing.
        return super().__getitem__(int(label) if isinstance(label, float) and label.is_integer() else label)


def _read_label(label: str) -> Any:
    """A label as the texts of a table have it: a number, None where there is none, or else the text itself."""
    label = label.strip()
    if not label or label.lower() == "nan":
        return None
    try:
        return float(label)
    except ValueError:
        return label
