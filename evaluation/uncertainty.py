"""How far an accuracy measured on some rows can be trusted, and whether one method is better than another on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

CONFIDENCE = 0.95
# A search keeps the least of hundreds of losses, which lies a little below guessing where no code means anything.
LEAST_GAIN_OVER_GUESSING = 0.05
ONE_ANSWER = 0.99  # a share of the predictions that leaves next to nothing for other answers

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Interval:
    """A range that holds the true value in 95 of 100 cases; prints in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"


@dataclass(frozen=True)
class Comparison:
    """A method beside a baseline on the same rows.

    Attributes:
        baseline: Name of the baseline as it stands in a sentence, e.g. "the majority class".
        wins: Rows on which the method is right and the baseline wrong; a mean over repetitions may be a fraction.
        losses: Rows on which the baseline is right and the method wrong.
        num_rows: Rows compared.
    """

    baseline: str
    wins: float
    losses: float
    num_rows: int

    @property
    def difference(self) -> float:
        """Accuracy of the method less that of the baseline, -1 to 1."""
        return (self.wins - self.losses) / self.num_rows

    @property
    def interval(self) -> Interval:
        """Range of the difference on new rows, after Agresti and Min (2005), who add half a row to each count.

        Pairs the answers by row, which tells small differences that the two methods' own intervals do not.
        """
        wins, losses, rows = self.wins + 0.5, self.losses + 0.5, self.num_rows + 2
        center = (wins - losses) / rows
        margin = _quantile() * math.sqrt(max(0.0, wins + losses - (wins - losses) ** 2 / rows)) / rows
        return Interval(max(-1.0, center - margin), min(1.0, center + margin))

    @property
    def verdict(self) -> Verdict:
        """Whether the difference can be told from none."""
        interval = self.interval
        return "better" if interval.low > 0 else "worse" if interval.high < 0 else "not distinguishable"


def compare_answers(baseline: str, right: Sequence[bool], baseline_right: Sequence[bool]) -> Comparison:
    """Count the rows that only one of the two methods gets right.

    Args:
        baseline: Name of the baseline as it stands in a sentence.
        right: Whether the method is right, by row `(num_rows,)`, at least one.
        baseline_right: Whether the baseline is, on the same rows.
    """
    right, other = np.asarray(right, dtype=bool), np.asarray(baseline_right, dtype=bool)
    return Comparison(baseline, int((right & ~other).sum()), int((~right & other).sum()), len(right))


def compute_wilson_interval(accuracy: float, num_rows: int) -> Interval:
    """Compute the range of an accuracy on new rows, after Wilson (1927), which holds for few rows and near 0 and 1.

    Args:
        accuracy: Share of rows answered rightly, 0 to 1.
        num_rows: Rows it was measured on, at least one.
    """
    z2 = _quantile() ** 2
    center = (accuracy + z2 / (2 * num_rows)) / (1 + z2 / num_rows)
    variance = accuracy * (1 - accuracy) / num_rows + z2 / (4 * num_rows**2)
    margin = math.sqrt(z2 * max(0.0, variance)) / (1 + z2 / num_rows)
    return Interval(max(0.0, center - margin), min(1.0, center + margin))


def describe_verdict(method: str, accuracy: float, num_rows: int, comparisons: Sequence[Comparison]) -> str:
    """Say in one sentence how good a method is and whether it is better than its baselines.

    Args:
        method: Name of the method.
        accuracy: Its accuracy, 0 to 1.
        num_rows: Rows it was measured on.
        comparisons: The method beside each baseline; none leaves the accuracy and its range.
    """
    said = f"{method}: {100 * accuracy:.1f}% ({compute_wilson_interval(accuracy, num_rows)} on {num_rows} rows)"
    groups: dict[Verdict, list[str]] = {"better": [], "not distinguishable": [], "worse": []}
    for each in comparisons:
        groups[each.verdict].append(f"{each.baseline} ({100 * each.difference:+.1f} points)")
    words = {"better": "better than", "not distinguishable": "not distinguishable from", "worse": "worse than"}
    parts = [f"{words[verdict]} {' and '.join(names)}" for verdict, names in groups.items() if names]
    return f"{said}, {'; '.join(parts)}." if parts else f"{said}."


def compute_guessing_loss(num_choices: Sequence[int]) -> float:
    """Compute the mean cross-entropy of giving each answer the same probability.

    Args:
        num_choices: Number of answers to choose from, by example `(num_examples,)`.
    """
    return float(np.log(np.asarray(num_choices, dtype=float)).mean())


def find_guessing(loss: float, guessing_loss: float) -> str | None:
    """Warn in one sentence where the few labeled examples show nothing learned, or return None.

    Args:
        loss: Mean cross-entropy of the right answer among the answers, on the few labeled examples.
        guessing_loss: See [`compute_guessing_loss`].
    """
    if loss < (1 - LEAST_GAIN_OVER_GUESSING) * guessing_loss:
        return None
    return (
        f"the loss on the labeled examples is {loss:.3f}, no better than guessing ({guessing_loss:.3f}): the code found "
        "means little for this task"
    )


def find_one_answer(predicted_shares: Sequence[float]) -> str | None:
    """Warn in one sentence where one answer is given to everything, or return None.

    Args:
        predicted_shares: Share of each answer among the predictions `(num_choices,)`.
    """
    if len(predicted_shares) < 2 or max(predicted_shares) < ONE_ANSWER:
        return None
    number = int(np.argmax(predicted_shares)) + 1
    share = 100 * max(predicted_shares)
    return f"answer {number} of {len(predicted_shares)} is given to {share:.0f}% of the rows, whatever they say"


def find_opposite(predicted_shares: Sequence[float], accuracy: float, num_rows: int) -> str | None:
    """Warn in one sentence where the wrong one of two answers is given more often than by chance, or return None.

    Args:
        predicted_shares: Share of each answer among the predictions `(num_choices,)`.
        accuracy: Share of right answers, 0 to 1.
        num_rows: Rows it was measured on.
    """
    is_one_answer = find_one_answer(predicted_shares) is not None
    if len(predicted_shares) != 2 or is_one_answer or compute_wilson_interval(accuracy, num_rows).high >= 0.5:
        return None
    return (
        "of two answers it mostly gives the wrong one: where the model means the opposite by them, "
        "`TaskSolver.fit(..., calibrate=True)` exchanges them"
    )


def _quantile() -> float:
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
