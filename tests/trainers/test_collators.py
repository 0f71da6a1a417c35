import numpy as np
import pytest
import torch
from datasets import Dataset

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


@pytest.mark.parametrize("task_id", ["rte", None, 1.0])
def test_a_task_id_that_is_no_integer_is_named(task_id):
    with pytest.raises(ValueError, match=rf"task_id {task_id!r}, which is no integer; `model.get_task_id"):
        CTRDataCollator(pad_token_id=0, num_tasks=3)([PLAIN, PLAIN | {"task_id": task_id}])


@pytest.mark.parametrize("missing", ["input_ids", "task_id"])
def test_a_missing_column_is_named(missing):
    example = {name: value for name, value in PLAIN.items() if name != missing}
    with pytest.raises(ValueError, match=f"no column '{missing}', only .*text: they need `input_ids`, `task_id`"):
        CTRDataCollator(pad_token_id=0, num_tasks=3)([example])


@pytest.mark.parametrize("as_given", [list, np.array, torch.tensor])
def test_rows_may_hold_arrays_and_tensors(as_given):
    even = CHOICES | {"choice_ids": [[7, 1], [8, 1]]}  # a table, which is one array
    collate = CTRDataCollator(pad_token_id=0, num_tasks=3)
    expected = collate([even, even])
    row = {name: value if name == "answer" else as_given(value) for name, value in even.items() if name != "task_id"}
    for name, value in collate([row | {"task_id": np.int64(0)}, row | {"task_id": torch.tensor(0)}]).items():
        assert value.dtype == torch.int64 and torch.equal(value, expected[name]), name


@pytest.mark.parametrize("kind", ["torch", "numpy", "pandas"])
def test_formatted_data_sets(kind):
    rows = Dataset.from_list([CHOICES, CHOICES | {"choice_ids": [[7, 1], [8, 1]]}])
    collate = CTRDataCollator(pad_token_id=0, num_tasks=3)
    expected = collate(list(rows))
    formatted = rows.with_format(kind)
    examples = formatted[:].to_dict("records") if kind == "pandas" else list(formatted)
    for name, value in collate(examples).items():
        assert torch.equal(value, expected[name]), name


def test_empty_sequences():
    batch = CTRDataCollator(pad_token_id=0, num_tasks=3)([PLAIN | {"input_ids": [], "labels": []}, PLAIN])
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    assert batch["attention_mask"].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_padding_in_the_rows_stays_masked():
    padded = PLAIN | {"input_ids": [5, 1, 0, 0], "attention_mask": [1, 1, 0, 0]}
    batch = CTRDataCollator(pad_token_id=0, num_tasks=3)([padded, PLAIN])
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]


def test_rows_to_predict_need_no_labels_and_no_answer():
    example = {name: CHOICES[name] for name in ("input_ids", "task_id", "choice_ids")}
    batch = CTRDataCollator(pad_token_id=0, num_tasks=3)([example])
    assert "labels" not in batch and batch["answer"].tolist() == [-1]
