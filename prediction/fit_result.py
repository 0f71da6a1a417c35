"""What `TaskSolver.fit` found, how far to trust it, and what it took."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluation.uncertainty import Interval

from .config import METHODS


@dataclass(frozen=True)
class Estimate:
    """Accuracy to expect on rows that are like the examples.

    Attributes:
        accuracy: Share of right answers, 0 to 1, by cross-fitting; the choice between methods does not flatter it.
        interval: Range that holds it in 95 of 100 cases.
        num_rows: Rows it was measured on.
        num_folds: Folds that the rows were held out in.
    """

    accuracy: float
    interval: Interval
    num_rows: int
    num_folds: int


@dataclass(frozen=True)
class TriedMethod:
    """A method on the rows that it was not searched on.

    Attributes:
        method: Its name.
        loss: Mean loss: of the right answer among the answers, or of the target where there are none.
        accuracy: Share of right answers; None for a free-form task.
    """

    method: str
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class FitResult:
    """A task that a solver has learned. Print it.

    Attributes:
        name: Name of the task.
        method: Name of the method that found its prompt.
        code: Its task code; None where its prompt vectors were tuned.
        classes: Label values, in the order of `TaskSolver.predict_proba`; None for a free-form task.
        num_examples: Examples that it was found with.
        loss: Mean loss on them, calibrated where that was asked for: of the right answer among the answers, or of the
            target where there are none; None without labels.
        guessing_loss: The same where all answers are given the same probability.
        accuracy: Share of right answers on them, which the search has seen; without labels the agreement with the vote.
        estimate: Accuracy to expect on new rows; None where it was not asked for, or cannot be had.
        majority: Most frequent label and its share of the examples.
        probe_accuracy: Share of right answers of a linear probe, logistic regression on the language model's states of the
            texts, on the same held-out rows as the estimate; None where that was not made, or there are no classes.
        raw_accuracy: Share of right answers of the language model without any code.
        raw_loss: Its mean loss.
        tried: All methods that were compared, on held-out rows.
        temperature: Of the probabilities; None where they were not calibrated.
        seconds: Duration of the fit.
        warnings: Sentences to read before the task is used.
    """

    name: str
    method: str
    code: list[int] | None
    classes: list | None
    num_examples: int
    loss: float | None
    guessing_loss: float | None
    accuracy: float | None
    estimate: Estimate | None
    majority: tuple[object, float] | None
    probe_accuracy: float | None
    raw_accuracy: float | None
    raw_loss: float | None
    tried: list[TriedMethod]
    temperature: float | None
    seconds: float
    warnings: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The code, in words where there is none."""
        return "tuned prompt vectors" if self.code is None else str(self.code)

    def __str__(self) -> str:
        lines = [f"  {name:<12} {shorter}" for name, value in self._lines() for name, shorter in _wrapped(name, value)]
        return "\n".join([self._title(), *lines])

    __repr__ = __str__

    def _title(self) -> str:
        kind = "free-form" if self.classes is None and self.majority is None else "choices by row"
        if self.classes is not None:
            kind = f"{len(self.classes)} classes ({_listed(self.classes)})"
        return f"Task {self.name!r}: {kind}, {self.num_examples} examples"

    def _lines(self) -> list[tuple[str, str]]:
        chosen = f", chosen from {len(self.tried)} by held-out rows" if len(self.tried) > 1 else ""
        lines = [("method", METHODS[self.method] + chosen), ("code", self.prompt)]
        few_shot = []
        if self.loss is not None:
            guessing = "" if self.guessing_loss is None else f" (guessing: {self.guessing_loss:.3f})"
            few_shot.append(f"loss {self.loss:.3f}{guessing}")
        if self.accuracy is not None:
            few_shot.append(
                f"{'agreement with the vote' if self.loss is None else 'accuracy'} {_percent(self.accuracy)}"
            )
        lines.append(("few-shot", ", ".join(few_shot)))
        own = [each for each in self.tried if each.method == self.method]
        if self.estimate is None and own:
            lines.append(("on new rows", f"loss {own[0].loss:.3f} (held out)"))
        if self.estimate is not None:
            held_out = f"{self.estimate.num_rows} rows held out in {self.estimate.num_folds} folds"
            value = f"{_percent(self.estimate.accuracy)} (95%: {self.estimate.interval}; {held_out})"
            lines.append(("on new rows", value))
        if self.majority is not None:
            lines.append(("majority", f"{_percent(self.majority[1])} (always {self.majority[0]!r})"))
        if self.raw_loss is not None:
            value = f"loss {self.raw_loss:.3f}"
            lines.append(("no code", value if self.raw_accuracy is None else _percent(self.raw_accuracy)))
        if self.probe_accuracy is not None:
            lines.append(
                ("linear probe", f"{_percent(self.probe_accuracy)} (logistic regression on the model's states)")
            )
        for number, each in enumerate(self.tried if len(self.tried) > 1 else []):
            value = f"loss {each.loss:.3f}" if each.accuracy is None else _percent(each.accuracy)
            lines.append(("tried" if number == 0 else "", f"{METHODS[each.method]}: {value}"))
        if self.temperature is not None:
            exchanged = " (below 0: the two answers are exchanged)" if self.temperature < 0 else ""
            lines.append(("temperature", f"{self.temperature:.2f}{exchanged}"))
        lines.append(("seconds", f"{self.seconds:.1f}"))
        lines += [("warning", warning) for warning in self.warnings]
        return lines


def _wrapped(name: str, value: str) -> list[tuple[str, str]]:
    """The value in lines that fit a terminal of 80 columns, the name beside the first."""
    lines = textwrap.wrap(value, 80 - 15) or [""]
    return list(zip([name] + [""] * (len(lines) - 1), lines, strict=True))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _listed(values: Sequence) -> str:
    shown = ", ".join(str(value) for value in list(values)[:4])
    return f"{shown}, ..." if len(values) > 4 else shown
