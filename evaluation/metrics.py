"""Metrics as `evaluate` modules; subclassed here because `evaluate.load` fetches its scripts from the Hub."""

import re
import string
import unicodedata
from collections import Counter

import datasets
import evaluate
import numpy as np
from rouge_score import rouge_scorer, tokenizers
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


_GENERATION_DESCRIPTION = """Generated texts against accepted ones, all as shares from 0 to 1: exact match and F1 of words as in
SQuAD (case, punctuation and articles do not count), ROUGE-1, ROUGE-2 and ROUGE-L F1 with stemming of English words. Words are
those of any script; of scripts that are written without spaces every character counts as a word. Of several accepted texts the
one that a text is closest to counts, for each score on its own."""

_GENERATION_INPUTS = """Args:
    predictions (list of str): generated texts.
    references (list of list of str): accepted texts of each, at least one.
Returns:
    exact_match, f1, rouge1, rouge2, rougeL (float): means over the texts."""

_ROUGE = ("rouge1", "rouge2", "rougeL")


class TextGeneration(evaluate.Metric):
    """`TextGeneration().compute(predictions=["a cat"], references=[["cat", "the cat"]])`; needs no network."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_GENERATION_DESCRIPTION,
            citation="",
            inputs_description=_GENERATION_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict:
        rouge = rouge_scorer.RougeScorer(_ROUGE, tokenizer=_RougeWords())
        totals: Counter[str] = Counter()
        for prediction, accepted in zip(predictions, references, strict=True):
            if not accepted:
                raise ValueError(f"There is no accepted text for the prediction {prediction!r:.100}.")
            totals["exact_match"] += max(_squad_words(prediction) == _squad_words(text) for text in accepted)
            totals["f1"] += max(_word_f1(prediction, text) for text in accepted)
            of_each = [rouge.score(text, prediction) for text in accepted]
            for name in _ROUGE:
                totals[name] += max(scores[name].fmeasure for scores in of_each)
        return {name: totals[name] / len(predictions) for name in ("exact_match", "f1", *_ROUGE)}


# Scripts without spaces between words: Chinese characters, kana, Thai, Lao, Burmese and Khmer.
_UNSPACED = re.compile(
    "([\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])"
)


def _squad_words(text: str) -> list[str]:
    """Words as SQuAD's evaluation compares them (Rajpurkar et al. 2016, arXiv:1606.05250), for all scripts."""
    text = unicodedata.normalize("NFC", text.lower()).translate(str.maketrans("", "", string.punctuation))
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c)[0] != "P")
        text = _UNSPACED.sub(r" \1 ", text)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


class _RougeWords(tokenizers.Tokenizer):
    """ROUGE's own words for Latin letters without accents; words of letters, marks and digits for other scripts."""

    def __init__(self) -> None:
        self._latin = tokenizers.DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        if text.isascii():
            return self._latin.tokenize(text)
        text = unicodedata.normalize("NFC", text.lower())
        text = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
        words = _UNSPACED.sub(r" \1 ", text).split()
        return [stem for word in words for stem in (self._latin.tokenize(word) if word.isascii() else [word])]


def _word_f1(prediction: str, reference: str) -> float:
    predicted, right = _squad_words(prediction), _squad_words(reference)
    common = sum((Counter(predicted) & Counter(right)).values())
    # Of two texts without words, F1 is their equality.
    return 2 * common / (len(predicted) + len(right)) if predicted and right else float(predicted == right)
