import random

import pytest
from datasets import Dataset

from evaluation.examples import Draws, draw_examples
from evaluation.judge import Judge
from evaluation.score import Score
from tasks import FeatureBuilder, SplitRows, Task, Template


@pytest.fixture
def builder(tiny_tokenizer):
    return FeatureBuilder(tiny_tokenizer, max_source_length=32, max_target_length=4)


def template(name: str, text: str = "{{text}}", choices: str | None = "w10 ||| w11") -> Template:
    target = "{{answer_choices[label]}}" if choices else "{{title}}"
    return Template(name, f"{text} ||| {target}", choices)


@pytest.fixture
def tasks():
    """Two templates of a classification set, and one of its rows' titles, without answer choices."""
    return [
        Task("sizes/plain", "sizes", template("plain")),
        Task("sizes/marked", "sizes", template("marked", "{{text}} w5", "w20 w21 ||| w22")),
        Task("sizes/title", "sizes", template("title", choices=None)),
    ]


@pytest.fixture
def rows():
    draw = random.Random(0)

    def split(count: int) -> Dataset:
        labels = [draw.randrange(2) for _ in range(count)]
        texts = [" ".join([f"w{30 + label}", *(f"w{draw.randrange(40, 64)}" for _ in range(6))]) for label in labels]
        return Dataset.from_dict({"text": texts, "label": labels, "title": [f"w{label + 12} w14" for label in labels]})

    return SplitRows("sizes", split(60), split(20), "train", "validation")


@pytest.fixture
def score():
    """`score(task, method, accuracy, seed, template, **fields)`: a record with 100 rows and two answers."""

    def score(task="rte", method="raw LM", accuracy=0.5, seed=0, template="a", **kwargs) -> Score:
        shares = [accuracy, 1 - accuracy]
        return Score(task, template, method, 100, seed, accuracy, accuracy, shares, **kwargs)

    return score


@pytest.fixture
def judge_and_shots(tiny_ctr_model, builder, tasks, rows):
    """A judge of a tiny model, and 16 few-shot examples."""
    model = tiny_ctr_model()
    (examples,) = draw_examples(tasks[:1], rows, builder, Draws(16, 0), seed=0)
    return Judge(model, examples, builder), examples.few_shot
