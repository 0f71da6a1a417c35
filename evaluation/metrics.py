"""Metrics as `evaluate` modules; subclassed here because `evaluate.load` fetches its scripts from the Hub."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, f1_score

_DESCRIPTION = """Rank classification: the answer choice with the highest log-likelihood is the prediction (T0's protocol).
Accuracy, macro-averaged F1, the share of each predicted choice, and the accuracy of always giving the majority answer."""

_INPUTS = """Args:
    predictions (list of int): index of the predicted answer choice.
    references (list of int): index of the right answer choice.
    num_choices (int): number of answer choices; the longest list where it differs between examples.
Returns:
    accuracy (float), macro_f1 (float), majority (float), predicted_shares (list of float, one per choice)."""


class RankClassification(evaluate.Metric):
    """`RankClassification().compute(predictions=[...], references=[...], num_choices=K)`; needs no network."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[int], references: list[int], num_choices: int) -> dict:
        predictions, references = np.asarray(predictions), np.asarray(references)
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0)),
            "majority": float(np.bincount(references).max() / len(references)),
            "predicted_shares": (np.bincount(predictions, minlength=num_choices) / len(predictions)).tolist(),
        }
