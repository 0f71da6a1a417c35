"""Which runs may share an output directory."""

import json

import pytest

from command_line.kept_arguments import keep_arguments
from evaluation.settings import HeldOutSettings
from run_arguments import ModelArguments, TaskArguments
from trainers import CTRTrainingArguments


def arguments(output_dir, **changes) -> tuple:
    task = TaskArguments(tasks=["sizes"], data_dir=changes.pop("data_dir", None))
    training = {"output_dir": str(output_dir), "use_cpu": True, "report_to": "none", "hub_token": "secret"} | changes
    return ModelArguments(model_name_or_path="lm"), task, CTRTrainingArguments(**training)


def test_other_arguments_are_refused_and_secrets_are_not_kept(tmp_path):
    keep_arguments(tmp_path, *arguments(tmp_path))
    assert "secret" not in (tmp_path / "_arguments.json").read_text()
    keep_arguments(tmp_path, *arguments(tmp_path, do_train=True, logging_steps=7))
    with pytest.raises(ValueError, match="holds a run with `seed` 42, not 2: choose another `output_dir`"):
        keep_arguments(tmp_path, *arguments(tmp_path, seed=2))


def test_tasks_and_seeds_may_come_to_a_run_but_not_go_from_it(tmp_path):
    def keep(tasks, seeds):
        more = [TaskArguments(tasks=tasks), HeldOutSettings(few_shot_seeds=seeds)]
        keep_arguments(tmp_path, *arguments(tmp_path), *more)

    keep(["sizes"], [1])
    keep(["sizes", "colours"], [1, 2])
    with pytest.raises(ValueError, match=r"holds a run with `tasks` \['sizes', 'colours'\], not \['sizes'\]"):
        keep(["sizes"], [1, 2])
    with pytest.raises(ValueError, match=r"holds a run with `few_shot_seeds` \[1, 2\], not \[2, 1\]"):
        keep(["sizes", "colours"], [2, 1])


def test_a_folder_is_the_same_however_its_path_is_written_and_wherever_it_is_moved(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    keep_arguments(tmp_path / "out", *arguments(tmp_path / "out", data_dir=str(tmp_path / "data")))
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    for output_dir, data_dir in ((tmp_path / "moved", "data"), ("moved/", "data/"), ("./moved", "./data")):
        keep_arguments(tmp_path / "moved", *arguments(output_dir, data_dir=data_dir))
    with pytest.raises(ValueError, match="holds a run with `data_dir` '.*data', not 'elsewhere'"):
        keep_arguments(tmp_path / "moved", *arguments("moved", data_dir="elsewhere"))


@pytest.mark.parametrize("content", ['{"half": ', "[1, 2]", ""])
def test_a_damaged_file_is_made_anew_with_a_warning(tmp_path, content, caplog):
    (tmp_path / "_arguments.json").write_text(content)
    keep_arguments(tmp_path, *arguments(tmp_path))
    assert "_arguments.json' is damaged and made anew" in caplog.text
    assert json.loads((tmp_path / "_arguments.json").read_text())["tasks"] == ["sizes"]
