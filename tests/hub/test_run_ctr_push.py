"""`run_ctr.py --push_to_hub`: what it found is on the Hub for someone without this project."""

import json

import pytest
from hub_server import WRITE
from test_push_and_load import CARRIED, READ_BACK
from transformers import T5ForConditionalGeneration

RUN = "import run_ctr\nrun_ctr.main(flags)\n"
ANSWER = """
inputs = tokenizer(["w5 w9 w30"], return_tensors="pt")
value = model.generate(**inputs, task="sizes/plain", max_new_tokens=4).shape[0]
"""
TEMPLATE = """
dataset: sizes
data: {data_files: {train: train.jsonl, validation: validation.jsonl}}
templates:
  plain: {answer_choices: "w14 ||| w16", jinja: "{{text}} ||| {{answer_choices[label]}}"}
"""


@pytest.fixture
def data(tmp_path):
    (tmp_path / "sizes.yaml").write_text(TEMPLATE)
    for split, count in (("train", 40), ("validation", 10)):
        rows = [{"text": f"w{20 + i} {split[:1]} w{30 + i % 2}", "label": i % 2} for i in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.slow
def test_a_run_pushes_the_model_with_the_found_code(hub, author, reader, saved, data, tmp_path):
    flags = ["--model_name_or_path", saved, "--templates_dir", str(tmp_path), "--tasks", "sizes", "--use_cpu", "True"]
    flags += ["--do_bitwise_search", "--num_shots", "8", "--search_epochs", "1", "--do_eval", "--report_to", "none"]
    flags += ["--output_dir", str(tmp_path / "out"), "--push_to_hub", "True", "--hub_model_id", "me/searched"]
    author(RUN, flags=[*flags, "--hub_token", WRITE])
    files = hub.files("me/searched")
    assert set(files) == CARRIED
    assert not [
        name for name, content in files.items() if str(tmp_path).encode() in content or saved.encode() in content
    ]
    assert "sizes/plain" in json.loads(files["task_codes.json"])
    assert b"Bitwise Search" in files["README.md"]
    assert WRITE not in (tmp_path / "out" / "_arguments.json").read_text()
    assert reader(READ_BACK + ANSWER, repo_id="me/searched", options={"cache_dir": str(tmp_path / "cache")}) == 1


@pytest.mark.slow
def test_a_training_run_pushes_no_names_of_folders(hub, author, tiny_t5_config, tiny_tokenizer, data, tmp_path):
    T5ForConditionalGeneration(tiny_t5_config()).save_pretrained(tmp_path / "lm")
    tiny_tokenizer.save_pretrained(tmp_path / "lm")
    flags = ["--model_name_or_path", str(tmp_path / "lm"), "--templates_dir", str(tmp_path), "--train_tasks", "sizes"]
    flags += ["--do_train", "--max_steps", "4", "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"]
    flags += ["--metric_for_best_model", "loss", "--code_length", "4", "--codebook_size", "16", "--use_cpu", "True"]
    flags += ["--output_dir", str(tmp_path / "out"), "--push_to_hub", "True", "--hub_model_id", "me/trained"]
    (tmp_path / "out").mkdir()
    for name in (".env", "notes.md", "other.safetensors", "mine.py"):  # what else may lie there
        (tmp_path / "out" / name).write_text("secret")
    (tmp_path / "out" / "eval_results.json").symlink_to(tmp_path / "out" / ".env")
    author(RUN, WRITE, flags=[*flags, "--report_to", "none"])
    assert str(tmp_path) in (tmp_path / "out" / "_arguments.json").read_text()
    assert str(tmp_path) in (tmp_path / "out" / "trainer_state.json").read_text()
    files = hub.files("me/trained")
    assert set(files) == CARRIED | {"train_results.json", "all_results.json"}
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content or b"secret" in content]
