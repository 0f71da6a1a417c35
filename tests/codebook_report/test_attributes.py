import json

import pytest

from codebook_report.attributes import get_known_attributes, load_attributes
from tasks.scenes import TRAINING_TASKS


def test_the_data_set_is_the_name_up_to_the_last_slash():
    names = ["glue/mrpc/same", "ag_news/topic", "task_0"]
    assert get_known_attributes(names) == {
        "glue/mrpc/same": {"data set": "glue/mrpc"},
        "ag_news/topic": {"data set": "ag_news"},
    }


def test_the_factors_of_the_embedded_benchmark_are_known():
    names = [task.name for task in TRAINING_TASKS]
    attributes = get_known_attributes(names)
    assert list(attributes) == names
    assert attributes[names[0]] == {
        "owner": TRAINING_TASKS[0].owner,
        "attribute": TRAINING_TASKS[0].attribute,
        "form": TRAINING_TASKS[0].form,
    }


def test_attributes_from_a_file(tmp_path):
    path = tmp_path / "attributes.json"
    path.write_text(json.dumps({"a": {"owner": "ann", "size": 3}}))
    assert load_attributes(path) == {"a": {"owner": "ann", "size": "3"}}


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": "ann"}', "{", '{"a": 3}'])
def test_a_file_that_holds_something_else(tmp_path, text):
    path = tmp_path / "attributes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="attributes.json' is not a file of task attributes: it must be JSON like"):
        load_attributes(path)


def test_no_file_of_attributes(tmp_path):
    with pytest.raises(ValueError, match="none.json' cannot be read: No such file"):
        load_attributes(tmp_path / "none.json")
