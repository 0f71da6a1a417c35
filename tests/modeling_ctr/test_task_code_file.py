"""Task code files on disk; with a Hub they are tested in tests/hub."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from modeling_ctr import CTRForConditionalGeneration, load_task_code, save_task_code
from modeling_ctr.task_code_file import codebook_hash, task_code_card

CODE = [1, 0, 7, 3]


@pytest.fixture
def author(tiny_ctr_model):
    model = tiny_ctr_model()
    model.add_task("rte", CODE)
    return model


def test_a_code_travels_to_another_copy_of_the_checkpoint(author, tmp_path):
    author.save_pretrained(tmp_path / "model")
    saved = save_task_code(
        author,
        "rte",
        tmp_path / "codes" / "rte.json",
        template="{{premise}} {{hypothesis}}",
        few_shot_seed=42,
        scores={"accuracy": np.float32(0.5), "rows": 277},
        checkpoint="me/ctr",
    )
    receiver = CTRForConditionalGeneration.from_pretrained(tmp_path / "model")
    loaded = receiver.load_task(tmp_path / "codes" / "rte.json", name="my rte")
    assert receiver.get_task_code("my rte").tolist() == loaded.code == CODE
    assert (loaded.name, saved.name) == ("my rte", "rte")
    assert load_task_code(tmp_path / "codes" / "rte.json") == saved
    assert saved.scores == {"accuracy": 0.5, "rows": 277} and saved.few_shot_seed == 42
    assert "[1, 0, 7, 3]" in (tmp_path / "codes" / "rte.json").read_text()


def test_a_folder_holds_one_code_and_training_tasks_can_be_shared_too(author, tmp_path):
    save_task_code(author, "ag_news", tmp_path / "code")
    assert load_task_code(tmp_path / "code").code == author.get_task_code("ag_news").tolist()
    assert [p.name for p in (tmp_path / "code").iterdir()] == ["task_code.json"]


def test_the_file_names_no_folder_of_its_author(author, tmp_path):
    author.save_pretrained(tmp_path / "secret" / "ctr-large")
    model = CTRForConditionalGeneration.from_pretrained(tmp_path / "secret" / "ctr-large")
    assert save_task_code(model, "rte", tmp_path / "rte.json").checkpoint == "ctr-large"
    assert "secret" not in (tmp_path / "rte.json").read_text()
    assert save_task_code(author, "rte", tmp_path / "rte.json").checkpoint == "an unnamed checkpoint"


def test_the_hash_is_of_the_code_table_and_the_decoder(author, tiny_ctr_model):
    own = codebook_hash(author.task_codebook)
    other = tiny_ctr_model()
    assert codebook_hash(other.task_codebook) == own
    with torch.no_grad():
        other.task_codebook.task_embedding.weight.add_(1)
        other.backbone.get_input_embeddings().weight.add_(1)
    assert codebook_hash(other.task_codebook) == own
    for part in (other.task_codebook.code_vectors, other.task_codebook.prompt_decoder):
        with torch.no_grad():
            part.weight[0, 0] += 1e-3
        assert codebook_hash(other.task_codebook) != own
        with torch.no_grad():
            part.weight.copy_(dict(author.task_codebook.named_parameters())[_name(other.task_codebook, part)])


def _name(codebook, part):
    return next(f"{name}.weight" for name, module in codebook.named_children() if module is part)


def test_a_code_of_another_codebook_is_refused_with_the_reason(author, tiny_ctr_model, tmp_path):
    save_task_code(author, "rte", tmp_path / "rte.json", checkpoint="me/ctr")
    other = tiny_ctr_model(seed=1)
    with pytest.raises(ValueError, match="belongs to another codebook, that of 'me/ctr'.*other vectors.*search for"):
        other.load_task(tmp_path / "rte.json")
    assert other.config.added_task_codes == {}


def test_a_taken_name_is_refused(author, tmp_path):
    save_task_code(author, "rte", tmp_path / "rte.json")
    with pytest.raises(ValueError, match="already a task 'rte'; choose another name"):
        author.load_task(tmp_path / "rte.json")
    author.load_task(tmp_path / "rte.json", name="rte 2")
    assert author.task_names[-1] == "rte 2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": [1, 0, 8, 3]}, "The code in '.*rte.json' has the value 8 at position 2.*8 vectors"),
        ({"code": [1, 0, 3]}, "has 3 integers, but a task code of this model has 4"),
        ({"code": [1, 0, 3, "x"]}, "not a valid task code file.*code"),
        ({"code": None}, "not a valid task code file.*code"),
        ({"name": 7}, "not a valid task code file.*name"),
        ({"format": "else"}, "not a task code file: `save_task_code`"),
        ({"version": 2}, "version 2, but only version 1 is known"),
    ],
)
def test_a_file_with_wrong_content_is_refused(author, tmp_path, change, message):
    save_task_code(author, "rte", tmp_path / "rte.json")
    content = json.loads((tmp_path / "rte.json").read_text())
    (tmp_path / "rte.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=message):
        author.load_task(tmp_path / "rte.json", name="new")


def test_unknown_fields_are_left_alone(author, tmp_path):
    save_task_code(author, "rte", tmp_path / "rte.json")
    content = json.loads((tmp_path / "rte.json").read_text())
    (tmp_path / "rte.json").write_text(json.dumps(content | {"comment": "hello"}))
    assert author.load_task(tmp_path / "rte.json", name="new").code == CODE


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\xff\xfe\x00", b"[" * 100_000, b"nonsense", b'"text"'])
def test_what_is_no_task_code_file_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match="x.json' is not a task code file"):
        load_task_code(tmp_path / "x.json")


@pytest.mark.parametrize("source", ["absent.json", "no/such/folder/at/all", "me/absent.json", "just-a-name", "a b/c"])
def test_a_missing_file_is_said_to_be_missing(source):
    with pytest.raises(FileNotFoundError, match=f"no file or folder '{source}'"):
        load_task_code(source)


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no task_code.json"):
        load_task_code(tmp_path)


def test_without_a_network_a_repository_says_so():
    with pytest.raises(OSError, match="^Loading a task code from 'me/rte-code' failed: .*(network|HF_HUB_OFFLINE).*$"):
        load_task_code("me/rte-code")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "0.5", True])
def test_a_score_that_is_no_number_is_refused(author, tmp_path, score):
    with pytest.raises(ValueError, match="score 'accuracy' must be a finite number"):
        save_task_code(author, "rte", tmp_path / "rte.json", scores={"accuracy": score})
    assert not (tmp_path / "rte.json").exists()


@pytest.mark.parametrize("name", ['"code": null', "a\nb", "héllo 🤗 | `x` ---", "\ud800", "../up"])
def test_odd_names_survive(author, tmp_path, name):
    author.add_task(name, CODE)
    saved = save_task_code(author, name, tmp_path / "odd.json", template=name, scores={name: 1})
    assert load_task_code(tmp_path / "odd.json") == saved
    card = task_code_card(saved, "me/code")
    card.save(tmp_path / "README.md")
    assert card.data.tags == ["ctr", "ctr-task-code"] and str(CODE) in card.text


def test_names_put_no_html_and_no_lines_into_the_card(author, tmp_path):
    saved = dataclasses.replace(
        save_task_code(author, "rte", tmp_path), name="<img src=x>\n# head\u2028", checkpoint="a`<b>\n- c",
        template="<script>\n{{x}}", scores={"<i>\nacc": 0.5},
    )  # fmt: skip
    text = task_code_card(saved, "me/code").text
    body = text[: text.index("```python")]
    assert not set("<>\u2028") & set(body)
    assert (
        len(body.splitlines())
        == len(
            task_code_card(save_task_code(author, "rte", tmp_path), "me/code").text.split("```python")[0].splitlines()
        )
        + 2
    )
