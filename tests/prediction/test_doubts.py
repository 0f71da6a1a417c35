import pytest
import torch

from evaluation.uncertainty import Interval
from modeling_ctr.task_details import TaskDetails
from prediction.doubts import find_doubts
from prediction.fit_result import Estimate
from prediction.labels import Classes
from prediction.task_examples import TaskExamples

GOOD = {"loss": 0.2, "guessing_loss": 0.693, "accuracy": 0.9, "raw_accuracy": 0.5, "raw_loss": 0.8}


TWO = Classes(("bad", "good"), ("bad", "good"))


def examples(gold=(0, 1) * 8, classes=TWO, warning=None):
    return TaskExamples(TaskDetails(), [], None if gold is None else list(gold), classes, True, warning)


def estimate(accuracy, low):
    return Estimate(accuracy, Interval(low, 1.0), 16, 4)


RIGHT = torch.tensor([[2.0, 0.0], [0.0, 2.0]] * 8).double()


def test_nothing_against_a_good_task():
    assert find_doubts(examples(), GOOD, RIGHT, estimate(0.95, 0.7)) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((examples(), GOOD, RIGHT, estimate(0.5, 0.3)), "no better on new rows than always giving the most frequent"),
        ((examples(), GOOD, RIGHT, estimate(0.6, 0.4)), "16 examples cannot tell it from always"),
        ((examples(), GOOD, RIGHT.flip(1).index_fill(1, torch.tensor(0), 9.0), None), "'bad' is the answer to 100%"),
        ((examples(), GOOD | {"loss": 0.69}, RIGHT, None), "no better than guessing"),
        ((examples(), GOOD, RIGHT, estimate(0.5, 0.3)), ": `calibrate=True`, more examples, other answers"),
        ((examples(), GOOD, RIGHT.flip(1), None), "mean the opposite of the labels: with `calibrate=True`"),
        ((examples(None), GOOD, RIGHT, None), "without labels nothing tells"),
        ((examples(None), GOOD, RIGHT, None, "the vote is bad"), "the vote is bad"),
        (
            (examples(["a", "b"], None), GOOD | {"raw_loss": 0.1}, -RIGHT[:, :1], None),
            "no better than the language model",
        ),
        ((examples(warning="unknown words"), GOOD, RIGHT, None), "unknown words"),
    ],
)
def test_what_is_said(arguments, said):
    assert said in " / ".join(find_doubts(*arguments))


def test_what_is_calibrated_is_not_told_to_be():
    doubts = find_doubts(examples(), GOOD, RIGHT.flip(1), estimate(0.5, 0.3), calibrated=True)
    assert len(doubts) == 1 and "calibrate" not in doubts[0]


def test_one_frequent_answer_is_no_doubt_where_nearly_all_rows_have_it():
    one = torch.tensor([[2.0, 0.0]] * 200).double()
    assert find_doubts(examples([0] * 199 + [1]), GOOD, one, None) == []
