import pytest

from tasks.data import DataError, load_rows
from tasks.task import Example, load_tasks, select_tasks

WITH_CHOICES = [
    {"inputs_pretokenized": "Is rain wet?\n", "targets_pretokenized": "\nYes", "answer_choices": ["Yes", "No"]},
    {"inputs_pretokenized": "Is sand ||| wet?", "targets_pretokenized": "No", "answer_choices": ["Yes", "No"]},
]
FREE = [{"inputs_pretokenized": "Shorten: it rains", "targets_pretokenized": "rain"}]


@pytest.fixture
def p3(tmp_path, write_json_lines):
    write_json_lines(tmp_path / "P3" / "wet_Yes_No" / "train" / "0000.jsonl", WITH_CHOICES)
    write_json_lines(tmp_path / "P3" / "shorten" / "train.jsonl", FREE)
    write_json_lines(tmp_path / "P3" / "other" / "train.jsonl", [{"text": "a"}])
    return tmp_path


def test_a_subset_is_a_task(p3):
    choosing, free = select_tasks(load_tasks(), ["P3/wet_Yes_No", "P3/shorten"], p3)
    assert (choosing.name, choosing.dataset, choosing.has_choices) == ("P3/wet_Yes_No", "P3/wet_Yes_No", True)
    rows = load_rows(choosing.dataset, choosing.source, p3).train
    assert [choosing.example(row) for row in rows] == [
        Example("Is rain wet?", "Yes", ["Yes", "No"], 0),
        Example("Is sand ||| wet?", "No", ["Yes", "No"], 1),
    ]
    assert choosing.template.context_fields == {"inputs_pretokenized"}
    assert free.example(FREE[0]) == Example("Shorten: it rains", "rain", None, None)


def test_what_is_not_a_subset(p3):
    with pytest.raises(DataError, match="no column 'inputs_pretokenized'"):
        select_tasks({}, ["P3/other"], p3)
    with pytest.raises(DataError, match="use 'P3/wet'"):
        select_tasks({}, ["P3/wet_score_eval"], p3)
    with pytest.raises(DataError, match="'P3/nothing' cannot be loaded"):
        select_tasks({}, ["P3/nothing"], p3)
