"""Answers in the shapes that transformers' pipelines give them."""

from collections.abc import Sequence
from typing import Any

import torch

from .labels import Label


def rank_answers(labels: Sequence[Label], probabilities: torch.Tensor, top_k: int | None) -> list[dict[str, Any]]:
    """The most probable labels of one text, as text classification pipelines give them.

    Args:
        labels: Labels to choose from.
        probabilities: `(num_labels,)`.
        top_k: Number of labels; None for all.

    Returns:
        `{"label": ..., "score": ...}` of each, the most probable first.
    """
    ranked = probabilities.argsort(descending=True, stable=True).tolist()[:top_k]
    return [{"label": labels[i], "score": float(probabilities[i])} for i in ranked]


def make_decision(labels: Sequence[Label], probabilities: torch.Tensor) -> dict[str, Any]:
    """The answer to one question about a text, as the decision pipeline gives it.

    Args:
        labels: Labels to choose from; False and True make a question of yes or no ("noul" in its terms).
        probabilities: `(num_labels,)`.
    """
    if set(labels) == {False, True} and all(isinstance(label, bool) for label in labels):
        return {"type": "noul", "noul": float(probabilities[list(labels).index(True)])}
    (best,) = rank_answers(labels, probabilities, 1)
    chance = 1 / len(labels)
    return {
        "type": "choice",
        "choice": best["label"],
        "confidence": max(0.0, (best["score"] - chance) / (1 - chance)),
        "probabilities": dict(zip(labels, probabilities.tolist(), strict=True)),
    }
