"""Which codes may vote in a Code Ensemble: those that predict each label about as often as expected."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Bias = Literal["total_variation", "largest_share"]
KeepRule = Literal["exact", "original"]


def compute_bias(label_shares: np.ndarray, prior: np.ndarray, bias: Bias = "total_variation") -> np.ndarray:
    """Compute how far each code's predictions are from the prior, `(num_codes,)`.

    The original compares the share of the label that a code predicts most, whichever it is, with the largest share of
    the prior ("largest_share"). That calls a code unbiased which predicts the wrong label that often, and with three
    labels one that hardly ever predicts one of them; only for two labels and a uniform prior it agrees with
    the default. "total_variation", half the summed absolute differences, is zero only where every label is predicted
    as often as expected, and is the smallest share of predictions that would have to change for that.

    Args:
        label_shares: `(num_codes, num_labels)`.
        prior: `(num_labels,)`.
    """
    if bias == "total_variation":
        return np.abs(label_shares - prior).sum(1) / 2
    if bias == "largest_share":
        return np.abs(label_shares.max(1) - prior.max())
    raise ValueError(f"There is no bias score '{bias}': choose 'total_variation' or 'largest_share'.")


def choose_voters(scores: np.ndarray, num_codes: int, keep_rule: KeepRule = "exact") -> np.ndarray:
    """Choose which codes may vote, `(num_codes,)` bool: the `num_codes` least biased, of equals the first.

    The "original" rule keeps every code whose score is at most the one at index `num_codes` of the sorted scores: one
    more than asked for, and all that tie with it. Both keep all codes where there are not more than asked for.
    """
    if num_codes < 1:
        raise ValueError(f"At least one code must be kept, not {num_codes}.")
    if num_codes >= len(scores):
        return np.ones(len(scores), dtype=bool)
    order = np.argsort(scores, kind="stable")
    if keep_rule == "original":
        return scores <= scores[order[num_codes]]
    if keep_rule != "exact":
        raise ValueError(f"There is no keep rule '{keep_rule}': choose 'exact' or 'original'.")
    kept = np.zeros(len(scores), dtype=bool)
    kept[order[:num_codes]] = True
    return kept


def get_prior(prior: Sequence[float] | None, available: np.ndarray) -> np.ndarray:
    """Get the expected share of each label, `(num_labels,)`: as given, or uniform over each example's choices.

    Args:
        prior: A share per label; None for the default.
        available: `(num_examples, num_labels)` bool: which labels are among the choices of each example.

    Raises:
        ValueError: There is not one share per label, or they do not add up to 1.
    """
    if prior is None:
        return (available / available.sum(1, keepdims=True)).mean(0)
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != (available.shape[1],) or (values < 0).any() or abs(values.sum() - 1) > 1e-3:
        raise ValueError(
            f"The prior must hold {available.shape[1]} shares that add up to 1, one per answer choice, but is "
            f"{list(prior)}."
        )
    return values
