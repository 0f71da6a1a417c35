import pytest
import torch

from search.scoring.examples import check_example
from search.scoring.targets import Targets


def test_each_distinct_target_once():
    targets = Targets.build([[[5, 6, 1], [7, 1], [5, 6, 1]], [[7, 1], [8, 1]]], torch.device("cpu"))
    assert targets.tokens.tolist() == [[5, 6, 1], [7, 1, 0], [8, 1, 0]]
    assert targets.lengths.tolist() == [3, 2, 2]
    assert targets.of_example == [[0, 1], [1, 2]]
    assert targets.slots.tolist() == [[0, 1, 0], [0, 1, -1]]


def test_the_gold_target():
    row = {"input_ids": [3, 1], "choice_ids": [[5, 1], [6, 1]], "answer": 1}
    assert check_example(row, 0)["gold"] == [6, 1]
    assert check_example({**row, "labels": [9, 1, -100, -100]}, 0)["gold"] == [9, 1]  # the labels go first
    unknown = check_example({"input_ids": [3, 1], "choice_ids": [[5, 1]]}, 0)
    assert unknown["gold"] is None and unknown["answer"] == -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": []}, "Example 2 has no `input_ids`"),
        ({"choice_ids": []}, "Example 2 has no answer choices"),
        ({"choice_ids": [[5, 1], []]}, "Example 2 has an empty answer choice"),
        ({"answer": 4}, "Example 2 has the answer 4"),
        ({"weight": float("inf")}, "Example 2 has the weight inf"),
    ],
)
def test_malformed_examples(change, message):
    row = {"input_ids": [3, 1], "choice_ids": [[5, 1], [6, 1]], "answer": 0}
    with pytest.raises(ValueError, match=message):
        check_example(row | change, 2)
