"""Classes of a task: the label values that a user gives, and the answers that stand for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.template_usage import SEPARATOR

Label = str | int | float | bool


@dataclass(frozen=True)
class Classes:
    """The classes of a task, in order.

    Attributes:
        labels: Label value of each class, as the user gave it.
        answers: Text that stands for each class (verbalizer): what the model is asked for.
    """

    labels: tuple[Label, ...]
    answers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def get_indices(self, labels: Sequence[Label]) -> list[int]:
        """Position of each label's class.

        Raises:
            ValueError: A label is none of the classes; the message says which and where.
        """
        positions = {_key(label): i for i, label in enumerate(self.labels)}
        indices = []
        for number, label in enumerate(labels):
            if _key(label) not in positions:
                raise ValueError(
                    f"labels[{number}] is {label!r}, which is not among the labels that have an answer: "
                    f"{_listed(self.labels)}; give it one in `answers`."
                )
            indices.append(positions[_key(label)])
        return indices


def make_classes(
    labels: Sequence[Label] | None, answers: Mapping[Label, str] | Sequence[str] | None = None
) -> Classes:
    """Find the classes of labels, each with the answer that stands for it.

    Args:
        labels: Labels of the examples, as `plain_labels` gives them; None where there are none.
        answers: Answer by label; or answers alone, which are then the labels, or stand for the labels in their sorted
            order. By default, a label's own text.

    Returns:
        Classes in the order of `answers` where this is a list of the labels, else sorted.

    Raises:
        ValueError: There are fewer than two classes, an answer is missing, empty or there twice, or the answers do not
            fit the labels.
    """
    if answers is None and labels is None:
        raise ValueError("Give `labels`, or `answers` to choose between where there are no labels.")
    if isinstance(answers, str):
        raise ValueError(f"`answers` must be a list of texts, or a mapping from labels to texts, but is {answers!r}.")
    if isinstance(answers, Mapping):
        by_label = {_plain_label(label, "A label in `answers`"): answer for label, answer in answers.items()}
        ordered = _sorted_labels(by_label)
        classes = Classes(tuple(ordered), _checked_answers([by_label[label] for label in ordered]))
    elif answers is None:
        ordered = _sorted_labels(labels)
        classes = Classes(tuple(ordered), _checked_answers([_text(label) for label in ordered]))
    else:
        texts = _checked_answers(list(answers))
        classes = Classes(texts if labels is None else _labels_of_answers(labels, texts), texts)
    if len(classes) < 2:
        raise ValueError(
            f"There is only one class, {classes.labels[0]!r}: give examples of at least two, or all `answers`."
        )
    return classes


def plain_labels(labels: Sequence[Any], num_texts: int) -> list[Label]:
    """Labels as plain Python values, checked.

    Args:
        labels: Strings, integers, floats or booleans, of Python, NumPy or pandas.
        num_texts: Number of examples.

    Raises:
        ValueError: There is not one label for each example, or one is missing or of another type.
    """
    if isinstance(labels, str):
        raise ValueError(f"`labels` must be a list with a label for each text, but is the text {labels!r:.80}.")
    labels = list(labels)
    if len(labels) != num_texts:
        raise ValueError(f"There are {num_texts} texts, but {len(labels)} labels: give one label for each text.")
    return [_plain_label(label, f"labels[{number}]") for number, label in enumerate(labels)]


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, or what pandas has for it."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _plain_label(label: Any, what: str) -> Label:
    if hasattr(label, "item") and getattr(label, "ndim", 0) == 0:  # of NumPy or torch
        label = label.item()
    if is_missing(label):
        raise ValueError(f"{what} is missing ({label}): leave out examples without a label, or fit on texts alone.")
    if not isinstance(label, (str, int, float)) or (isinstance(label, float) and math.isinf(label)):
        raise ValueError(f"{what} must be a text, a number or a boolean, but is {label!r:.80}.")
    return label


def _key(label: Label) -> tuple[type, Label]:
    """What tells labels apart: `True` is not 1."""
    return type(label), label


def _sorted_labels(labels: Sequence[Label] | Mapping[Label, Any]) -> list[Label]:
    distinct = list({_key(label): label for label in labels}.values())
    kinds = sorted({type(label).__name__ for label in distinct})
    if len(kinds) > 1:
        raise ValueError(
            f"The labels are of several types ({', '.join(kinds)}), such as {_listed(distinct)}: make them one type."
        )
    return sorted(distinct)


def _labels_of_answers(labels: Sequence[Label], answers: tuple[str, ...]) -> tuple[Label, ...]:
    """The labels that a list of answers stands for, in its order."""
    distinct = _sorted_labels(labels)
    if all(isinstance(label, str) and label.strip() in answers for label in distinct):
        originals = {label.strip(): label for label in distinct}
        return tuple(originals.get(answer, answer) for answer in answers)
    if len(distinct) != len(answers):
        raise ValueError(
            f"There are {len(distinct)} labels ({_listed(distinct)}), but {len(answers)} answers: give `answers` as a "
            "mapping from each label to its answer."
        )
    return tuple(distinct)


def _checked_answers(answers: Sequence[Any]) -> tuple[str, ...]:
    checked: list[str] = []
    for answer in answers:
        if not isinstance(answer, str):
            raise ValueError(f"An answer must be a text, but one is {answer!r:.80}.")
        text = answer.strip()
        if not text:
            raise ValueError("An answer is empty: every label needs a text that stands for it, given in `answers`.")
        if SEPARATOR in text:
            raise ValueError(
                f"The answer {text!r:.80} holds '{SEPARATOR}', which stands between answers; leave it out."
            )
        if text in checked:
            raise ValueError(f"The answer {text!r:.80} stands for two labels: give each a text of its own.")
        checked.append(text)
    return tuple(checked)


def _text(label: Label) -> str:
    """A label's own text; whole numbers without a point, as a column of integers with gaps is read as floats."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _listed(labels: Sequence[Label]) -> str:
    shown = ", ".join(repr(label) for label in list(labels)[:6])
    return f"{shown}, ..." if len(labels) > 6 else shown
