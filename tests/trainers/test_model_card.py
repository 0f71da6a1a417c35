"""The model card, as people read it and as the Hub's metadata."""

import ast
import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard import metadata_eval_result, metadata_load
from transformers import PreTrainedTokenizerBase

from modeling_ctr import CTRForCausalLM, CTRForConditionalGeneration, TaskDetails
from prediction import TaskSolver
from trainers.hub import save_for_hub
from trainers.model_card import get_stage_record, make_eval_result, write_model_card

REPOSITORY = Path(__file__).resolve().parents[2]
ODD = "a|b `c` <b> \"q\" 's' --- {{ x }} \\n \n---\nhéllo 🤗: #1, [x](y) *z*"


@pytest.fixture
def card(tiny_ctr_model, tmp_path):
    """`card(model=None, **facts)`: the card that is written, read back."""

    def build(model=None, **facts):
        return ModelCard.load(write_model_card(model or tiny_ctr_model(), tmp_path / "model", **facts))

    return build


def table_after(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, without the line below its header."""
    rows = re.search(r"(?:^\|.*\|\n)+", text.split(heading, 1)[1], re.MULTILINE).group().splitlines()
    assert re.fullmatch(r"\|(---\|)+", rows[1])
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in (rows[0], *rows[2:])]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells


def test_it_names_tasks_codes_and_codebook(card, tiny_ctr_model):
    model = tiny_ctr_model()
    model.add_task("rte", [7, 0, 3, 1])
    model.add_tuned_task("cb", torch.ones(4, 16))
    text = card(model, repo_id="me/ctr-tiny", task_accuracies={"glue_qqp": 0.625}).text
    assert text.lstrip().startswith("# ctr-tiny\n")
    rows = table_after(text, "## Tasks and their codes")
    assert rows[0] == ["task", "code", "accuracy (%)"]
    assert [row[0] for row in rows[1:]] == model.config.task_names
    assert [row[1].replace("\\", "") for row in rows[1:]] == [str(code) for code in model.task_codes().tolist()]
    assert [row[2] for row in rows[1:]] == ["", "62.5", ""]
    added = table_after(text, "Added later")[1:]
    assert [row[0] for row in added] == ["rte", "cb"] and added[1][1] == "none: tuned prompt vectors"
    assert f"{model.task_codes().unique().numel()} of 8 code vectors are in use" in text


def test_it_says_what_is_not_known(card):
    text = card().text
    assert "settings of its training are not recorded" in text and "None are recorded" in text
    assert "a t5 language model" in text


def test_a_backbone_from_the_hub_is_in_the_metadata_and_a_local_one_is_not(card, tiny_ctr_model, tmp_path):
    model = tiny_ctr_model()
    model.config.text_config._name_or_path = "google/t5-large-lm-adapt"
    assert card(model).data.base_model == "google/t5-large-lm-adapt"
    model.config.text_config._name_or_path = str(tmp_path / "my-t5")
    local = card(model)
    assert local.data.base_model is None
    assert "my-t5 (a local copy)" in local.text and str(tmp_path) not in local.content


def test_results_are_metadata_that_the_hub_reads(card):
    results = [
        make_eval_result("rte", 0.8, "Bitwise Search", dataset="super_glue"),
        make_eval_result("cb", 0.75, "Bitwise Search"),
        make_eval_result("rte", 0.7, "Code Ensemble", dataset="super_glue"),
    ]
    read = card(repo_id="me/ctr", results=results, license="mit", language="en", tags="t0", datasets=["ag_news"])
    assert {r.unique_identifier for r in read.data.eval_results} == {r.unique_identifier for r in results}
    assert {(r.dataset_name, r.metric_name): r.metric_value for r in read.data.eval_results} == {
        ("rte", "accuracy, Bitwise Search"): 0.8,
        ("cb", "accuracy, Bitwise Search"): 0.75,
        ("rte", "accuracy, Code Ensemble"): 0.7,
    }
    assert (read.data.license, read.data.language, read.data.datasets) == ("mit", "en", ["ag_news"])
    assert read.data.tags == ["ctr", "task-codes", "t0"] and read.data.library_name == "transformers"
    assert table_after(read.text, "## Results")[1:] == [
        ["rte", "accuracy, Bitwise Search", "80.0%"],
        ["cb", "accuracy, Bitwise Search", "75.0%"],
        ["rte", "accuracy, Code Ensemble", "70.0%"],
    ]


def test_its_model_index_has_the_shape_of_the_hubs_own(card, tmp_path):
    card(repo_id="me/ctr", results=[make_eval_result("cb", 0.75, "Bitwise Search")])
    theirs = metadata_eval_result(
        model_pretty_name="ctr",
        task_pretty_name="cb",
        task_id="multiple-choice",
        metrics_pretty_name="accuracy, Bitwise Search",
        metrics_id="accuracy",
        metrics_value=0.75,
        dataset_pretty_name="cb",
        dataset_id="cb",
        dataset_split="validation",
    )["model-index"]
    del theirs[0]["results"][0]["task"]["name"], theirs[0]["results"][0]["metrics"][0]["verified"]
    assert metadata_load(tmp_path / "model" / "README.md")["model-index"] == theirs


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="accuracy of 'search' on 'rte' must be a finite number"):
        make_eval_result("rte", value, "search")


@pytest.mark.parametrize("odd", [ODD, "\ud800 half", "---\nlicense: evil", "```\n# h1", "trailing \\"])
def test_odd_characters_survive(card, tiny_ctr_model, odd):
    names = [odd, "plain", "ag_news"]
    model = tiny_ctr_model(task_names=names, added_task_codes={odd + "2": [1, 2, 3, 4]})
    model.config.text_config._name_or_path = odd
    read = card(
        model, results=[make_eval_result(odd, 0.5, odd)], license="mit", task_accuracies={odd: 1.0}, tags=odd[2:]
    )
    printable = odd.encode("utf-8", "backslashreplace").decode()
    assert read.data.license == "mit" and read.data.eval_results[0].dataset_name == printable
    assert len(table_after(read.text, "## Tasks and their codes")) == 4
    assert len(table_after(read.text, "Added later")) == len(table_after(read.text, "## Results")) == 2
    snippets = re.findall(r"^```python\n(.*?)^```$", read.text, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        compile(snippet, "card", "exec")
    assert len(re.findall(r"^## ", read.text, re.MULTILINE)) == 7


def test_a_training_run_is_on_the_card_with_its_predecessor(build, train, tmp_path):
    model = build()
    train(model, stage=1, seed=3).save_model(str(tmp_path / "stage1"))
    model = CTRForConditionalGeneration.from_pretrained(tmp_path / "stage1")
    trainer = train(model, stage=2, learning_rate=0.005, gradient_accumulation_steps=2, max_steps=5)
    trainer.evaluate()
    trainer.save_model()
    trainer.save_model()  # once more, as a push does
    trainer.create_model_card(results=[make_eval_result("rte", 0.5, "Bitwise Search")], license="mit")
    card = ModelCard.load(Path(trainer.args.output_dir) / "README.md")
    rows = {row[0]: row[1:] for row in table_after(card.text, "## Training")}
    assert rows["setting"] == ["stage 1", "stage 2"]
    assert rows["steps"] == ["8", "5"] and rows["learning rate"] == ["0.01", "0.005"]
    assert rows["examples per step"] == ["8", "16"] and rows["seed"] == ["3", "42"]
    assert rows["training examples"] == ["96", "96"]
    tasks = table_after(card.text, "## Tasks and their codes")
    assert tasks[0] == ["task", "code", "examples", "accuracy (%)"]
    assert [row[2] for row in tasks[1:]] == ["32"] * 3 and all(0 <= float(row[3]) <= 100 for row in tasks[1:])
    assert card.data.license == "mit" and card.data.eval_results[0].metric_value == 0.5
    saved = CTRForConditionalGeneration.from_pretrained(trainer.args.output_dir).config.training_stages
    assert [stage["stage"] for stage in saved] == [1, 2]


def test_batches_by_tokens_are_recorded_as_such(build, train):
    trainer = train(build(), stage=1, max_steps=1, per_device_train_tokens=80, gradient_accumulation_steps=2)
    assert get_stage_record(trainer, 3)["examples_per_step"] == "up to 160 tokens"


def test_a_run_that_trained_nothing_leaves_no_stage(build, train, tmp_path):
    trainer = train(build(), stage=1, max_steps=1)
    trainer.state.global_step = 0
    trainer.model.config.training_stages = None
    trainer.save_model(str(tmp_path / "saved"))
    assert trainer.model.config.training_stages is None


def test_pickled_arguments_hold_no_token(build, train, tmp_path):
    trainer = train(build(), stage=1, max_steps=1, hub_token="hf_secret_secret")
    trainer.save_model(str(tmp_path / "saved"))
    assert trainer.args.hub_token == "hf_secret_secret"
    for path in (tmp_path / "saved").iterdir():
        assert b"secret_secret" not in path.read_bytes(), path.name


DETAILS = TaskDetails(answers=["w1", "w2"], labels=[-1, 1], template="{{a}} {{b}} ||| {{answer_choices[label]}}")


def test_its_example_is_the_task_found_last(card, tiny_ctr_model):
    model = tiny_ctr_model()
    first, code = repr(model.task_names[0]), model.task_codes()[0].tolist()
    assert get_tasks(card(model).text) == [first] * 2 and f"code = {code}" in card(model).text
    model.add_task("cb", [1, 2, 3, 4])
    model.add_task("rte", [7, 0, 3, 1], DETAILS)
    found = card(model).text
    assert get_tasks(found) == ["'rte'"] * 2 and "code = [7, 0, 3, 1]" in found
    rows = "[{'a': 'one text', 'b': 'one text'}, {'a': 'another, longer text', 'b': 'another, longer text'}]"
    assert (
        f"print(solver.predict({rows}, task='rte'))" in found
        and "print(solver" not in card(model, example_task="cb").text
    )
    assert get_tasks(card(model, example_task="cb").text) == ["'cb'"] * 2
    model.add_tuned_task("tuned", torch.ones(4, 16), TaskDetails(template="{{text}} ||| {{summary}}"))
    tuned = card(model).text
    assert "print(solver.generate(['one text', 'another, longer text'], task='tuned'))" in tuned
    assert get_tasks(tuned) == ["'tuned'"] * 2 and f"code = {code}" in tuned


@pytest.mark.parametrize("template", ["{{ not Jinja", "{{text}} ||| {{answer_choices[label]}}"])
def test_a_task_that_a_solver_cannot_be_asked_is_not_shown_with_one(card, tiny_ctr_model, template):
    model = tiny_ctr_model()
    model.add_task("rte", [7, 0, 3, 1], TaskDetails(template=template))
    assert "TaskSolver" not in card(model).text and get_tasks(card(model).text) == ["'rte'"] * 2


def get_tasks(text: str) -> list[str]:
    """Tasks that the first two snippets ask."""
    return re.findall(r"(?:, task|default_task ?)= ?('.*?')", text)


@pytest.mark.slow
def test_its_snippets_run(tiny_ctr_model, tiny_tokenizer, tmp_path):
    model = tiny_ctr_model(task_names=['it\'s a "task"', "b", "c"])
    save_for_hub(model, tiny_tokenizer, tmp_path / "model", repo_id="me/ctr-tiny")
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    # The two that use the model's own code run where this project cannot be imported.
    run("\n".join(snippets[1:]), tmp_path, {"HF_HOME": str(tmp_path / "home")})
    kept = CTRForConditionalGeneration.from_pretrained(tmp_path / "with-my-task")
    assert torch.equal(kept.get_task_code("my task"), model.task_codes()[0])
    run(snippets[0], tmp_path, {"PYTHONPATH": str(REPOSITORY)})
    # Where the model knows how a task is asked, a solver answers with its own label values.
    model.add_task("found", [7, 0, 3, 1], DETAILS)
    save_for_hub(model, tiny_tokenizer, tmp_path / "model", repo_id="me/ctr-tiny")
    snippet = re.search(r"^```python\n(.*?)^```$", (tmp_path / "model" / "README.md").read_text(), re.M | re.S).group(
        1
    )
    assert "TaskSolver" in snippet
    assert run(snippet, tmp_path, {"PYTHONPATH": str(REPOSITORY)}).strip() in [
        str([a, b]) for a in (-1, 1) for b in (-1, 1)
    ]


@pytest.mark.parametrize("code_position", ["prefix", "suffix"])
@pytest.mark.parametrize("pad_token", [None, "<pad>"])
def test_its_snippets_print_the_answers_of_a_decoder_only_model(
    code_position, pad_token, tiny_causal_model, tiny_causal_tokenizer, own_remote_code, tmp_path, monkeypatch, capsys
):
    model, tokenizer = tiny_causal_model(code_position=code_position), copy.deepcopy(tiny_causal_tokenizer)
    tokenizer.pad_token = pad_token
    model.generation_config.min_new_tokens = 3  # so that there is something to print
    monkeypatch.chdir(tmp_path)
    asked = [["w5 w6"], ["w7 w8", "w9 w30 w31"], ["w7"]]
    for snippet, texts in zip(write_snippets(model, tokenizer), asked, strict=True):
        exec(snippet, {})
        printed = ast.literal_eval(capsys.readouterr().out)
        assert printed == [write_answer(model, tokenizer, text) for text in texts] and all(printed)
    assert CTRForCausalLM.from_pretrained("with-my-task").task_names[-1] == "my task"
    model.add_task("found", [7, 0, 3, 1], DETAILS)
    exec(write_snippets(model, tokenizer)[0], {})
    rows = [{"a": text, "b": text} for text in asked[1]]
    expected = TaskSolver(model, tokenizer).predict(rows, "found", progress=False)
    assert ast.literal_eval(capsys.readouterr().out) == expected


def write_snippets(model: CTRForCausalLM, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Save the model as `me/tiny`, and read its card's snippets, with texts that the tokenizer knows."""
    save_for_hub(model, tokenizer, "me/tiny", repo_id="me/tiny")
    card = Path("me/tiny/README.md").read_text(encoding="utf-8")
    known = {"the text to answer, as the task's template makes it": "w5 w6", "one text": "w7 w8"}
    for text, words in (known | {"another, longer text": "w9 w30 w31", '"a text"': '"w7"'}).items():
        card = card.replace(text, words)
    return re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def write_answer(model: CTRForCausalLM, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """What the model writes behind one text, asked the first task."""
    inputs = tokenizer(text, return_tensors="pt")
    ids = model.generate(**inputs, task_code=model.task_codes()[0], max_new_tokens=32)[0].tolist()
    asked = inputs["input_ids"][0].tolist()
    assert ids[: len(asked)] == asked
    return tokenizer.decode(ids[len(asked) :], skip_special_tokens=True)


def run(snippet: str, folder: Path, environment: dict[str, str]) -> str:
    snippet = snippet.replace("'me/ctr-tiny'", repr(str(folder / "model")))
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_results_may_be_any_of_the_hubs_own(card):
    result = EvalResult(
        task_type="text-classification", dataset_type="x", dataset_name="x", metric_type="f1", metric_value=0.25
    )
    assert table_after(card(results=[result]).text, "## Results")[1] == ["x", "f1", "0.25"]
