"""Pushing whole models and loading them, with the real client in processes of their own."""

import json
import socket

import pytest
from hub_client import Client, fails, fails_in_transformers
from hub_server import OTHER, READ, WRITE

# Snippets. The author's process has imported `trainers.hub`.
AUTHOR_LOADS = """
from transformers import AutoTokenizer
from modeling_ctr import CTRForConditionalGeneration
model = CTRForConditionalGeneration.from_pretrained(saved)
tokenizer = AutoTokenizer.from_pretrained(saved)
"""
PUSH = (
    AUTHOR_LOADS + "from trainers.hub import push_to_hub\nvalue = push_to_hub(model, tokenizer, repo_id, **options)\n"
)
READ_BACK = """
import importlib.util
assert importlib.util.find_spec("modeling_ctr") is None and importlib.util.find_spec("trainers") is None
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained(repo_id, trust_remote_code=True, **options)
tokenizer = AutoTokenizer.from_pretrained(repo_id, **options)
"""
ANSWER = """
inputs = tokenizer(["w5 w9 w30", "w7"], return_tensors="pt", padding=True)
options = {"max_new_tokens": 6, "no_repeat_ngram_size": 1}
value = [model.generate(**inputs, task=task, **options).tolist() for task in ("rte", "rte, tuned")]
"""
CARRIED = {
    "README.md",
    "answer_likelihoods.py",
    "check_codes.py",
    "check_inputs.py",
    "checkpoint_name.py",
    "codebook.py",
    "config.json",
    "configuration_ctr.py",
    "generation_config.json",
    "generation_options.py",
    "hub_errors.py",
    "model.safetensors",
    "modeling_ctr.py",
    "offloading.py",
    "pretrained_ctr.py",
    "prompt_encoder.py",
    "task_arguments.py",
    "task_code_file.py",
    "task_codes.json",
    "task_details.py",
    "task_registry.py",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def push(author, saved):
    """`push(repo_id="me/ctr", token=..., **options)`."""

    def push(repo_id="me/ctr", token=WRITE, **options):
        return author(PUSH, token, saved=saved, repo_id=repo_id, options=options)

    return push


@pytest.fixture
def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_a_model_travels_whole_to_someone_without_this_project(
    hub, push, author, reader, reader_home, saved, closed_port
):
    url = push()
    files = hub.files("me/ctr")
    assert set(files) == CARRIED and url.startswith(f"{hub.url}/me/ctr/commit/")
    assert len(hub.lfs) == 1 and len(hub.repositories["me/ctr"].messages) == 1
    assert json.loads(files["task_codes.json"])["rte"] == [1, 0, 7, 3]
    assert b"# ctr\n" in files["README.md"] and b"from_pretrained('me/ctr')" in files["README.md"]

    mine = author(AUTHOR_LOADS + ANSWER, saved=saved)
    theirs = reader(READ_BACK + ANSWER, repo_id="me/ctr", options={})
    assert mine == theirs

    # Again, with the same cache, from where there is no network.
    hermit = Client(closed_port, reader_home)
    assert hermit(READ_BACK + ANSWER, repo_id="me/ctr", options={}) == mine
    message = fails(hermit, "OSError", READ_BACK + "model.load_task('me/unread-code')", repo_id="me/ctr", options={})
    assert message.startswith("Loading a task code from 'me/unread-code' failed: ") and "check the network" in message
    hermit.close()


@pytest.mark.slow
def test_pushing_again_changes_only_what_changed(hub, push, author, saved):
    push()
    hub.log.clear()
    push()
    assert len(hub.repositories["me/ctr"].messages) == 1
    assert not [path for method, path in hub.log if method == "PUT"]
    before = hub.files("me/ctr")
    added = AUTHOR_LOADS + "from trainers.hub import push_to_hub\nmodel.add_task('cb', [0, 0, 0, 1])\n"
    author(added + "push_to_hub(model, tokenizer, 'me/ctr')", WRITE, saved=saved)
    after = hub.files("me/ctr")
    assert {name for name in after if after[name] != before[name]} == {"config.json", "task_codes.json", "README.md"}


@pytest.mark.slow
def test_a_branch_is_made_and_read(hub, push, reader):
    push()
    push(revision="v2", language="en")
    assert b"language: en" in hub.files("me/ctr", "v2")["README.md"]
    assert b"language: en" not in hub.files("me/ctr")["README.md"]
    reader(READ_BACK, repo_id="me/ctr", options={"revision": "v2"})
    message = fails_in_transformers(reader, READ_BACK, repo_id="me/ctr", options={"revision": "v3"})
    assert "v3" in message


@pytest.mark.slow
def test_a_private_model_is_open_to_its_owner_alone(hub, push, reader, tmp_path):
    push(private=True)
    assert hub.repositories["me/ctr"].private
    options = {"cache_dir": str(tmp_path)}
    for token in (None, OTHER):
        message = fails_in_transformers(reader, READ_BACK, token, repo_id="me/ctr", options=options)
        assert "me/ctr" in message and "private" in message
    reader(READ_BACK, READ, repo_id="me/ctr", options=options)
    assert "private" in fails_in_transformers(reader, READ_BACK, repo_id="me/none", options=options)


@pytest.mark.slow
def test_who_may_not_push_is_told_why(hub, push, author, saved):
    names = {"saved": saved, "repo_id": "me/ctr", "options": {}}
    message = fails(author, "OSError", PUSH, None, **names)
    assert message.startswith("Making the repository 'me/ctr' failed: the Hub needs a valid token")
    assert "hf auth login" in message
    assert "needs a valid token" in fails(author, "OSError", PUSH, "hf_wrong", **names)
    message = fails(author, "OSError", PUSH, READ, **names)
    assert "your token may not do that to 'me/ctr'; use one with write permission" in message
    assert hub.repositories == {}
    push()
    message = fails(author, "OSError", PUSH, READ, **names)  # it is there already, but not open to this token
    assert message.startswith("Pushing to 'me/ctr' failed: your token may not do that")
    message = fails(author, "HFValidationError", PUSH, WRITE, **names | {"repo_id": "not a name!"})
    assert "not a name!" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (("PUT", "lfs-storage", "hang up"), "the Hub cannot be reached"),
        (("PUT", "lfs-storage", 503), r"the Hub has a fault of its own (503); try again later"),
        (("POST", "/commit/", 500), r"the Hub has a fault of its own (500); try again later"),
        (("POST", "/commit/", "hang up"), "the Hub cannot be reached"),
        (("POST", "preupload", 504), r"the Hub has a fault of its own (504); try again later"),
    ],
)
def test_a_push_that_breaks_off_leaves_everything_as_it_was(hub, push, author, saved, fault, reason):
    push()
    before = hub.files("me/ctr")
    changed = AUTHOR_LOADS + "model.backbone.get_input_embeddings().weight.data += 1\nmodel.tie_weights()\n"
    again = changed + "from trainers.hub import push_to_hub\npush_to_hub(model, tokenizer, 'me/ctr')"
    hub.faults.append(fault)
    message = fails(author, "OSError", again, WRITE, saved=saved)
    assert message.startswith("Pushing to 'me/ctr' failed: ") and reason in message
    assert message.endswith("What was there before is unchanged.")
    assert hub.files("me/ctr") == before
    hub.faults.clear()
    author(again, WRITE, saved=saved)
    after = hub.files("me/ctr")
    assert {name for name in after if after[name] != before[name]} == {"model.safetensors"}


@pytest.mark.slow
def test_a_download_that_breaks_off_can_be_repeated(hub, push, reader, tmp_path):
    push()
    options = {"cache_dir": str(tmp_path)}
    hub.faults.append(("GET", "model.safetensors", "hang up"))
    fails_in_transformers(reader, READ_BACK, repo_id="me/ctr", options=options)
    hub.faults[:] = [("HEAD", "", 500)]
    fails_in_transformers(reader, READ_BACK, repo_id="me/ctr", options=options | {"force_download": True})
    hub.faults.clear()
    reader(READ_BACK, repo_id="me/ctr", options=options)


@pytest.mark.slow
def test_the_models_own_push_carries_the_model_alone(hub, author, reader, saved):
    author(AUTHOR_LOADS + "model.push_to_hub('me/bare')", WRITE, saved=saved)
    assert set(hub.files("me/bare")) == CARRIED - {"tokenizer.json", "tokenizer_config.json", "task_codes.json"}
    author(AUTHOR_LOADS + "tokenizer.push_to_hub('me/bare')", WRITE, saved=saved)
    assert reader(READ_BACK + ANSWER, repo_id="me/bare", options={})


@pytest.mark.slow
def test_other_repositories_are_said_to_be_no_ctr_models(hub, author, tmp_path):
    plain = """
from transformers import T5Config, T5ForConditionalGeneration
T5ForConditionalGeneration(T5Config(vocab_size=8, d_model=4, d_kv=2, d_ff=4, num_heads=2, num_layers=1)).push_to_hub("me/t5")
from huggingface_hub import HfApi
HfApi().create_repo("me/empty")
"""
    author(plain, WRITE)
    load = "from modeling_ctr import CTRForConditionalGeneration\nCTRForConditionalGeneration.from_pretrained(repo_id)"
    message = fails(author, "ValueError", load, repo_id="me/t5")
    assert "config of a 't5' model, not of a CTR model" in message and "from_backbone" in message
    assert "me/empty does not appear to have a file named" in fails_in_transformers(author, load, repo_id="me/empty")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["from_pretrained(repo_id)", "from_backbone(repo_id, num_tasks=2)"])
def test_what_cannot_be_loaded_says_why(hub, push, author, call):
    push(private=True)
    load = f"from modeling_ctr import CTRForConditionalGeneration\nCTRForConditionalGeneration.{call}"
    for repo_id, token in (("me/none", WRITE), ("me/none", None), ("me/ctr", OTHER), ("me/ctr", None)):
        message = fails(author, "OSError", load, token, repo_id=repo_id)
        assert message.startswith(
            f"Loading '{repo_id}' failed: there is no repository '{repo_id}' on the Hub, or it is"
        )
        assert message.endswith("Nor is there a folder of that name.")
    hub.faults.append(("HEAD", "", "hang up"))
    message = fails(author, "OSError", load, WRITE, repo_id="me/unseen")
    assert message.startswith("Loading 'me/unseen' failed: the Hub cannot be reached")


TRAIN = """
import torch
from datasets import Dataset
from transformers import AutoTokenizer
from modeling_ctr import CTRForConditionalGeneration
from trainers import CTRTrainer, CTRTrainingArguments
rows = Dataset.from_list([{"input_ids": [5, 9, 1], "labels": [7, 1], "task_id": i % 3} for i in range(8)])
options = {"max_steps": 2, "report_to": "none", "use_cpu": True, "disable_tqdm": True} | options
args = CTRTrainingArguments(output_dir=folder, **options)
trainer = CTRTrainer(
    model=CTRForConditionalGeneration.from_pretrained(saved),
    args=args,
    train_dataset=rows,
    processing_class=AutoTokenizer.from_pretrained(saved),
)
trainer.train()
"""
FINAL_PUSH = """
from trainers.model_card import make_eval_result
trainer.push_to_hub(results=[make_eval_result("rte", 0.8, "Bitwise Search")], license="mit")
"""


@pytest.mark.slow
def test_the_trainers_push_carries_everything(hub, author, reader, saved, tmp_path):
    options = {"push_to_hub": True, "hub_model_id": "me/trained", "hub_token": WRITE, "hub_private_repo": True}
    options |= {"save_strategy": "steps", "save_steps": 1, "hub_always_push": True}
    author(TRAIN, saved=saved, folder=str(tmp_path / "out"), options=options)
    repository = hub.repositories["me/trained"]
    assert repository.private
    during = hub.files("me/trained")  # pushed while it trained: usable as it is
    assert set(during) - {"training_args.bin"} == CARRIED - {"README.md"}

    author(TRAIN + FINAL_PUSH, saved=saved, folder=str(tmp_path / "out"), options=options)
    files = hub.files("me/trained")
    assert set(files) - {"training_args.bin"} == CARRIED
    assert "End of training" in repository.messages[-1]
    assert b"license: mit" in files["README.md"] and b"accuracy, Bitwise Search | 80.0%" in files["README.md"]
    assert not [name for name, content in files.items() if WRITE.encode() in content]
    assert reader(READ_BACK + ANSWER, READ, repo_id="me/trained", options={"cache_dir": str(tmp_path / "cache")})


@pytest.mark.slow
def test_a_trainers_push_that_fails_says_where_everything_is(hub, author, saved, tmp_path):
    out = str(tmp_path / "out")
    options = {"push_to_hub": True, "hub_model_id": "me/trained", "save_strategy": "no"}
    message = fails(author, "OSError", TRAIN, None, saved=saved, folder=out, options=options)
    assert message.startswith("Making the repository 'me/trained' failed: the Hub needs a valid token")
    hub.faults.append(("POST", "/commit/", 503))
    message = fails(author, "OSError", TRAIN + FINAL_PUSH, WRITE, saved=saved, folder=out, options=options)
    assert message.startswith("Pushing to 'me/trained' failed: the Hub has a fault of its own (503); try again later.")
    assert f"hf upload me/trained {out}" in message
    assert {path.name for path in (tmp_path / "out").iterdir()} >= CARRIED
