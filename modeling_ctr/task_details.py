"""What is known about a task beside its code: the answers, the template and the lengths that its numbers come from."""

import math
from dataclasses import asdict, dataclass, fields
from textwrap import shorten
from typing import Any

import numpy as np
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError


@strict
@dataclass
class TaskDetails:
    """How a task is asked and answered, so that whoever loads its code can use it. Everything is optional.

    Args:
        answers: Words that stand for the classes (verbalizers), in the order of the classes.
        labels: Original label values of these classes, in the same order: strings, integers, floats or booleans.
        template: Jinja source of "input ||| target", as `tasks.Template` takes it.
        max_source_length: Largest number of tokens of an input.
        max_target_length: Largest number of tokens of a target.
        temperature: Divisor of the answers' log-likelihoods that makes their softmax a calibrated probability; negative
            where two answers mean the opposite of what the model takes them for.
        prior: Shares, in the order of the classes, that the probabilities of the answers are divided by.

    Raises:
        ValueError: A value is out of its range, or the lists are not of one length; the message names the field.
    """

    answers: list[str] | None = None
    labels: list | None = None
    template: str | None = None
    max_source_length: int | None = None
    max_target_length: int | None = None
    temperature: float | int | None = None
    prior: list[float | int] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            self.labels = [label.item() if isinstance(label, np.generic) else label for label in self.labels]
            for label in self.labels:
                if not isinstance(label, (str, int, float)) or (isinstance(label, float) and not math.isfinite(label)):
                    raise ValueError(
                        f"`labels` must be strings, integers, floats or booleans, but one is {label!r:.80}."
                    )
            if len({(type(label), label) for label in self.labels}) < len(self.labels):
                raise ValueError(f"`labels` must be distinct, but are {self.labels!r:.200}.")
        for name in ("answers", "labels", "prior"):
            values = getattr(self, name)
            if values is not None and not values:
                raise ValueError(f"`{name}` is empty: leave it out where it is not known.")
            if values is not None and self.answers is not None and len(values) != len(self.answers):
                raise ValueError(f"`{name}` has {len(values)} values, but there are {len(self.answers)} `answers`.")
        for name in ("max_source_length", "max_target_length"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value < 1):
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if self.temperature is not None and not 0 < abs(self.temperature) < math.inf:
            raise ValueError(f"`temperature` must be a finite number other than 0, but is {self.temperature}.")
        if self.prior is not None and not (min(self.prior) >= 0 and math.isclose(sum(self.prior), 1, abs_tol=1e-3)):
            raise ValueError(f"`prior` must be shares that sum to 1, but is {self.prior!r:.200}.")

    @classmethod
    def from_dict(cls, values: dict[str, Any], what: str) -> "TaskDetails":
        """Make details of what a file holds; fields that a newer version wrote are left out.

        Args:
            values: Fields by name, as `to_dict` gives them.
            what: Place that they come from, to begin an error's message with.

        Raises:
            ValueError: A field has a wrong type or value.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{what} must be a mapping of fields, but is {values!r:.200}.")
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except StrictDataclassError as error:
            raise ValueError(f"{what} is wrong: {shorten(str(error), 300)}") from error
        except ValueError as error:
            raise ValueError(f"{what} is wrong: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Make a dict of the fields that are known, by name, as JSON can hold them."""
        return {name: value for name, value in asdict(self).items() if value is not None}
