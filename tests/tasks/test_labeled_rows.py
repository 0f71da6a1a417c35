from collections import Counter

import pytest
from datasets import Dataset

from tasks.data import DataError
from tasks.features import FeatureBuilder
from tasks.labeled_rows import has_answer, sample_rows, select_tasks_with_answers
from tasks.task import Task
from tasks.template import Template

TASK = Task("a/t", "a", Template("t", "{{text}} ||| {{label}}", "good ||| bad"))
OUTSIDE = Task("a/outside", "a", Template("outside", "{{text}} ||| {{label}}!", "good ||| bad"))
FREE = Task("a/free", "a", Template("free", "{{text}} ||| {{label}}"))


def rows(labels: list[str]) -> Dataset:
    return Dataset.from_dict({"text": [f"the cat {i}" for i in range(len(labels))], "label": labels})


def test_an_answer_is_known_where_the_target_is_a_choice_or_a_text():
    row = {"text": "the cat", "label": "good"}
    assert [has_answer(task, row) for task in (TASK, OUTSIDE, FREE)] == [True, False, True]
    assert not has_answer(TASK, {"text": "the cat", "label": None})
    assert not has_answer(FREE, {"text": " ", "label": "good"})


def test_a_sorted_data_set_is_sampled_evenly_and_always_alike():
    sorted_rows = rows(["good"] * 200 + [""] * 100 + ["bad"] * 200)
    sample = sample_rows(TASK, sorted_rows, 100)
    assert len(sample) == 100
    assert all(35 < count < 65 for count in Counter(sample["label"]).values())
    assert sample["text"][:] == sample_rows(TASK, sorted_rows, 100)["text"][:]
    assert sample["label"][:] == sorted(sample["label"], reverse=True)  # in the data set's order
    assert sample_rows(TASK, sorted_rows, 500) is sorted_rows


def test_a_template_whose_targets_are_no_choices_is_left_out_and_the_others_stay(caplog):
    assert select_tasks_with_answers([OUTSIDE, TASK], rows(["", "good"]), "dev") == [TASK]
    assert "'a/outside': none of the 2 rows of split 'dev' has a known answer" in caplog.text
    assert "that of row 0, '!', is not among the answer choices ['good', 'bad']" in caplog.text
    with pytest.raises(DataError, match="'a/t': none of the 2 rows .* their label, or their text, is missing"):
        select_tasks_with_answers([TASK], rows(["", ""]), "dev")


def test_features_of_labelled_rows_leave_the_others_out_with_their_count(tokenizer, caplog):
    builder = FeatureBuilder(tokenizer)
    features = builder.evaluation(TASK, rows(["good", "", "awful", "bad"]), labeled_only=True)
    assert (features["row"][:], features["answer"][:]) == ([0, 3], [0, 1])
    assert "2 of 4 rows have no known answer and are left out" in caplog.text
    assert "the targets of 1 of 4 rows are not among their answer choices, such as 'awful' of row 2" in caplog.text
    with pytest.raises(DataError, match="none of its 2 rows has a known answer"):
        builder.evaluation(TASK, rows(["", "fine"]), labeled_only=True)


def test_free_form_features_keep_the_target_as_it_stands(tokenizer):
    text = "the cat {sat} ~ " * 20
    features = FeatureBuilder(tokenizer, max_target_length=4).evaluation(FREE, rows([text]))
    assert features["target_text"][:] == [text.strip()]
    assert len(features["labels"][0]) == 4
