import pytest
import torch

from trainers.collators import CTRDataCollator

PLAIN = {"input_ids": [5, 6, 1], "labels": [7, 1], "task_id": 2, "text": "left out"}
CHOICES = {"input_ids": [5, 1], "labels": [8, 9, 1], "task_id": 0, "choice_ids": [[7, 1], [8, 9, 1]], "answer": 1}


def test_pads_each_column_with_its_own_value():
    batch = CTRDataCollator(pad_token_id=0, num_tasks=3)([PLAIN, {**PLAIN, "input_ids": [1], "labels": [1]}])
    assert set(batch) == {"input_ids", "attention_mask", "labels", "task_id"}
    assert batch["input_ids"].tolist() == [[5, 6, 1], [1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[7, 1], [1, -100]]
    assert batch["task_id"].dtype == torch.int64


def test_examples_without_choices_may_stand_beside_others():
    batch = CTRDataCollator(pad_token_id=0, num_tasks=3)([PLAIN, CHOICES])
    assert batch["choice_ids"].tolist() == [[[-100] * 3] * 2, [[7, 1, -100], [8, 9, 1]]]
    assert batch["answer"].tolist() == [-1, 1]


def test_task_id_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"task_id 2, but the model has only 2 tasks \(0 to 1\)"):
        CTRDataCollator(pad_token_id=0, num_tasks=2)([CHOICES, PLAIN])
