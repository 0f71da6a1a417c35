"""What a task knows beside its code, alone and as part of a model, its checkpoint and its code files."""

import json

import numpy as np
import pytest
import torch

from modeling_ctr import CTRConfig, CTRForConditionalGeneration, TaskDetails, load_task_code

DETAILS = TaskDetails(
    answers=["bad", "good"],
    labels=[0, 1],
    template="{{text}} ||| {{answer_choices[label]}}",
    max_source_length=384,
    max_target_length=32,
    temperature=1.5,
    prior=[0.25, 0.75],
)


def test_details_stay_with_the_model(t5, tmp_path):
    t5.add_task("reviews", [0, 1, 2, 3], DETAILS)
    t5.add_tuned_task("tuned", torch.zeros(4, 16), TaskDetails(labels=["a", "b"]))
    t5.set_task_details("ag_news", TaskDetails(max_source_length=64))
    t5.save_pretrained(tmp_path)
    for model in (t5, CTRForConditionalGeneration.from_pretrained(tmp_path)):
        assert model.task_details("reviews") == DETAILS
        assert model.task_details("tuned").labels == ["a", "b"]
        assert model.task_details("ag_news") == TaskDetails(max_source_length=64)
        assert model.task_details("glue_mrpc") == TaskDetails()  # nothing is known


def test_details_of_a_removed_or_unknown_task(t5):
    t5.add_task("reviews", [0, 1, 2, 3], DETAILS)
    t5.remove_task("reviews")
    assert t5.config.task_details == {}
    for call in (t5.task_details, lambda name: t5.set_task_details(name, DETAILS)):
        with pytest.raises(ValueError, match="no task 'reviews'"):
            call("reviews")
    t5.set_task_details("ag_news", DETAILS)
    t5.set_task_details("ag_news", None)
    assert t5.task_details("ag_news") == TaskDetails()


def test_a_code_file_carries_them(t5, tmp_path):
    t5.save_pretrained(tmp_path / "model")
    receiver = CTRForConditionalGeneration.from_pretrained(tmp_path / "model")
    t5.add_task("reviews", [0, 1, 2, 3], DETAILS)
    saved = t5.save_task("reviews", tmp_path / "reviews.json")
    assert saved.details == DETAILS and load_task_code(tmp_path / "reviews.json") == saved
    receiver.load_task(tmp_path / "reviews.json", name="mine")
    assert receiver.task_details("mine") == DETAILS


def test_code_files_of_before(t5, tmp_path):
    t5.save_task("ag_news", tmp_path / "old.json")
    content = json.loads((tmp_path / "old.json").read_text())
    assert content.pop("details") == {}
    (tmp_path / "old.json").write_text(json.dumps(content))
    t5.load_task(tmp_path / "old.json", name="copy")
    assert t5.task_details("copy") == TaskDetails()


def test_a_damaged_code_file_says_what_is_wrong(t5, tmp_path):
    t5.save_task("ag_news", tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    for wrong, message in (({"answers": "yes"}, "answers"), ([], "must be a mapping"), ({"prior": [2.0]}, "sum to 1")):
        (tmp_path / "x.json").write_text(json.dumps(content | {"details": wrong}))
        with pytest.raises(ValueError, match=f"`details` in '.*x.json'.*{message}"):
            t5.load_task(tmp_path / "x.json", name="copy")


def test_a_config_of_a_newer_version_may_know_more(tiny_t5_config):
    fields = {"text_config": tiny_t5_config(), "task_names": ["a"]}
    config = CTRConfig(**fields, task_details={"a": {"answers": ["x", "y"], "color": "red"}})
    assert TaskDetails.from_dict(config.task_details["a"], "a").answers == ["x", "y"]
    with pytest.raises(ValueError, match="`task_details` has details of 'b', which is not the name of any task"):
        CTRConfig(**fields, task_details={"b": {}})
    with pytest.raises(
        ValueError, match="`task_details\\['a'\\]` is wrong: `temperature` must be a finite number other than 0"
    ):
        CTRConfig(**fields, task_details={"a": {"temperature": 0.0}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answers": []}, "`answers` is empty"),
        ({"answers": ["a", "b"], "labels": [1]}, "`labels` has 1 values, but there are 2 `answers`"),
        ({"answers": ["a"], "prior": [0.5, 0.5]}, "`prior` has 2 values, but there are 1 `answers`"),
        ({"labels": [None]}, "`labels` must be strings, integers, floats or booleans"),
        ({"labels": [float("nan")]}, "`labels` must be"),
        ({"labels": ["a", "a"]}, "`labels` must be distinct"),
        ({"max_source_length": 0}, "`max_source_length` must be at least 1"),
        ({"temperature": float("nan")}, "`temperature` must be a finite number other than 0"),
        ({"temperature": 0.0}, "`temperature` must be a finite number other than 0"),
        ({"prior": [0.5, 0.6]}, "`prior` must be shares that sum to 1"),
        ({"prior": [1.5, -0.5]}, "`prior` must be shares that sum to 1"),
    ],
)
def test_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        TaskDetails(**fields)


def test_labels_of_an_array_are_kept_as_json_can_hold_them():
    labels = TaskDetails(labels=list(np.array([3, 5]))).to_dict()["labels"]
    assert json.dumps(labels) == "[3, 5]"
    assert TaskDetails(labels=[True, 1, "1"]).labels == [True, 1, "1"]
