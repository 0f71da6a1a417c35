import random

import pytest
import torch

import prediction.predictor as predictor
from prediction.predictor import Predictor
from prediction.questions import make_questions


@pytest.fixture(scope="module")
def texts():
    """50 texts of 1 to 30 words."""
    draw = random.Random(1)
    return [" ".join(f"w{draw.randrange(3, 64)}" for _ in range(draw.randrange(1, 31))) for _ in range(50)]


def test_chunks_change_nothing(fitted, texts, monkeypatch):
    tasks = ["reviews", "stars"] * 25
    whole = fitted.predict(texts, tasks)
    written = fitted.generate(texts[:9], "stars", max_new_tokens=3)
    monkeypatch.setattr(predictor, "CHUNK", 7)
    assert fitted.predict(texts, tasks) == whole
    assert fitted.generate(texts[:9], "stars", max_new_tokens=3) == written


def test_the_longest_texts_come_first_and_chunks_are_bounded(fitted, texts, monkeypatch):
    monkeypatch.setattr(predictor, "CHUNK", 20)
    seen = []

    class Watched(predictor.PromptScorer):
        def __init__(self, model, examples, token_budget=None):
            seen.append([len(example["input_ids"]) for example in examples])
            super().__init__(model, examples, token_budget)

    monkeypatch.setattr(predictor, "PromptScorer", Watched)
    fitted.predict(texts, "stars")
    assert [len(lengths) for lengths in seen] == [20, 20, 10]
    assert min(seen[0]) >= max(seen[1]) - 2 and min(seen[1]) >= max(seen[2]) - 2  # characters are not tokens


def test_a_text_is_run_once_however_many_tasks_there_are(fitted, texts):
    questions, asked = make_questions(fitted.model, fitted.tokenizer, len(texts), ["reviews", "stars"] * 25, None)
    asking = Predictor(fitted.model, questions, texts, asked, progress=False)
    found = asking.choice_log_likelihoods()
    assert asking.scorer.pairs_scored == len(texts)
    assert all(row.shape == (2,) and row.isfinite().all() for row in found)


def test_equal_answers_take_the_first(fitted, texts, monkeypatch):
    monkeypatch.setattr(Predictor, "choice_log_likelihoods", lambda self: [torch.zeros(2)] * len(self.texts))
    assert fitted.predict(texts, "stars") == [1] * len(texts)
