import json
import shutil
from dataclasses import replace

import pytest
from peft import LoraConfig

from export import export_model, get_task_prefix, load_exported_tasks
from export.__main__ import main
from export.loading import describe_task
from modeling_ctr import CTRForConditionalGeneration, TaskCode, load_task_code, save_task_code


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("exported") / "plain"
    export_model(checkpoint("t5"), folder)
    return str(folder)


def test_tasks_have_a_prefix_and_what_is_known_of_them(folder, checkpoint):
    model = CTRForConditionalGeneration.from_pretrained(checkpoint("t5"))
    exported = load_exported_tasks(folder)
    assert list(exported.tasks) == ["news", "mood", "found <b>", "tuned"]
    assert exported.tasks["news"]["code"] == model.get_task_code("news").tolist()
    assert get_task_prefix(folder, "found <b>") == "<c0><c15><c15><c3>"
    assert exported.tasks["found <b>"]["answers"] == ["yes", "no"] and "template" in exported.tasks["found <b>"]
    assert get_task_prefix(folder, "tuned") == "<t0_0><t0_1><t0_2><t0_3>" and exported.tasks["tuned"]["code"] is None


def test_a_code_found_later_needs_no_export(folder, checkpoint, tmp_path):
    model = CTRForConditionalGeneration.from_pretrained(checkpoint("t5"))
    model.add_task("later", [1, 2, 3, 4])
    save_task_code(model, "later", tmp_path / "later.json")
    for code in ([1, 2, 3, 4], load_task_code(tmp_path / "later.json")):
        assert get_task_prefix(folder, code) == "<c1><c2><c3><c4>"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("nws", "There is no task 'nws' in the exported model; it has news, mood, found <b>, tuned"),
        ([1, 2, 3], "The code has 3 integers, but a code of this model has 4"),
        ([1, 2, 3, 16], "The code has the value 16, but must hold integers from 0 to 15"),
        ([1, 2, 3, True], "The code has the value True"),
        (
            TaskCode("x", [1, 2, 3, 4], "sha256:1", "me/other"),
            "of 'x' belongs to another codebook, that of 'me/other'",
        ),
    ],
)
def test_what_is_no_task_is_said(folder, task, message):
    with pytest.raises(ValueError, match=message):
        get_task_prefix(folder, task)


def test_what_is_no_exported_model_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_exported_tasks(tmp_path)
    with pytest.raises(OSError, match="There is no folder '.*absent', and nothing on the Hub can have that name"):
        load_exported_tasks(tmp_path / "absent")
    for content, message in (
        ("{", "is damaged: export"),
        ("[]", "is damaged"),
        ("{}", "is not what an export writes"),
    ):
        (tmp_path / "tasks.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_exported_tasks(tmp_path)


def test_the_command_exports_chosen_tasks(checkpoint, tmp_path, capsys):
    assert main([str(checkpoint("t5")), str(tmp_path / "plain"), "--tasks", "mood", "found <b>"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "found <b>: <c0><c15><c15><c3>"
    assert list(json.loads((tmp_path / "plain" / "tasks.json").read_text())["tasks"]) == ["mood", "found <b>"]
    card = (tmp_path / "plain" / "README.md").read_text()
    assert "| found &lt;b> | `<c0><c15><c15><c3>` |" in card and "pipeline_tag" in card
    assert {p.name for p in tmp_path.iterdir()} == {"plain"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "{folder}", "--tasks", "nws"], "This model has no task 'nws': did you mean 'news'"),
        (["{model}", "{there}"], "exists already: choose another folder"),
        (
            ["{model}", "{folder}", "--format", "onnx", "--tasks", "nws"],
            "This model has no task 'nws': did you mean 'news'",
        ),
        (["{model}", "{there}", "--format", "onnx"], "exists already: choose another folder"),
        (["{model}", "{there}", "--format", "lm_eval", "--tasks", "news"], "exists already: choose another folder"),
        (["{absent}", "{folder}"], "There is no folder"),
        (["{there}", "{folder}"], "has no tokenizer that can be loaded"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(arguments, message, checkpoint, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    shutil.copy(checkpoint("t5") / "config.json", tmp_path / "there")
    names = {
        "model": checkpoint("t5"),
        "folder": tmp_path / "new",
        "there": tmp_path / "there",
        "absent": tmp_path / "no",
    }
    assert main([word.format(**names) for word in arguments]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m export: ")]
    assert len(errors) == 1 and message in errors[0]
    assert {p.name for p in tmp_path.iterdir()} == {"there"}


def test_exchanged_answers_are_warned_of(ctr_model, monkeypatch):
    model, _ = ctr_model("t5")
    told = []
    monkeypatch.setattr("export.loading.logger.warning", told.append)
    assert describe_task(model, "found <b>")["answers"] == ["yes", "no"] and not told
    details = replace(model.task_details("found <b>"), temperature=-2.0)
    model.set_task_details("found <b>", details)
    assert describe_task(model, "found <b>")["temperature"] == -2
    assert len(told) == 1 and "where it writes 'yes', take it for 'no'" in told[0]


def test_a_failure_leaves_nothing_half_written(ctr_model, tmp_path, monkeypatch):
    model, tokenizer = ctr_model("t5")

    def fail(*args):
        raise OSError("no space left on the device")

    monkeypatch.setattr("export.plain_checkpoint.write_card", fail)
    with pytest.raises(OSError, match="no space left"):
        export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_would_answer_otherwise_is_refused(ctr_model, tmp_path, monkeypatch):
    model, tokenizer = ctr_model("bart")
    monkeypatch.setattr("export.plain_model.get_embedding_scale", lambda embeddings: 1.0)
    with pytest.raises(ValueError, match="A bart model cannot be exported: with the vectors of 'news' in its word"):
        export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="needs its tokenizer, too: give `tokenizer`"):
        export_model(model, tmp_path / "plain")
    assert list(tmp_path.iterdir()) == []


def test_adapters_and_quantized_weights_are_refused(ctr_model, tmp_path):
    model, tokenizer = ctr_model("t5")
    model.is_quantized = True
    with pytest.raises(
        ValueError, match="A quantized model cannot be exported: load it without a `quantization_config`"
    ):
        export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    model.is_quantized = False
    model.add_adapter(LoraConfig(target_modules=["q"]))
    with pytest.raises(ValueError, match="has an adapter beside its weights: merge it"):
        export_model(model, tmp_path / "plain", tokenizer=tokenizer)
