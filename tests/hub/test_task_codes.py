"""Task codes on the Hub: a code alone, for whoever has the model."""

import json

import pytest
from hub_client import fails
from hub_server import OTHER, READ, WRITE

PUSH_CODE = """
from modeling_ctr import CTRForConditionalGeneration, push_task_code
model = CTRForConditionalGeneration.from_pretrained(saved)
value = push_task_code(
    model, "rte", "me/rte-code", template="{{premise}} {{hypothesis}}", few_shot_seed=42, scores={"accuracy": 0.8}, **options
)
"""
READ_MODEL = """
from transformers import AutoModelForSeq2SeqLM
model = AutoModelForSeq2SeqLM.from_pretrained(saved, trust_remote_code=True)
"""
FIND_CODES = "from modeling_ctr import find_task_codes\nvalue = find_task_codes(model_name, **options)\n"
LOAD_TASK = "task = model.load_task(source, **options)\nvalue = [task.name, model.get_task_code(task.name).tolist()]\n"


@pytest.fixture
def push_code(author, saved):
    """`push_code(token=..., **options)`: the author publishes the code of "rte"."""
    return lambda token=WRITE, **options: author(PUSH_CODE, token, saved=saved, options=options)


@pytest.fixture
def load(reader, saved, tmp_path):
    """`load(source, token=None, **options)`: somebody without this project loads a code into the same checkpoint."""

    def load(source, token=None, **options):
        names = {"saved": saved, "source": source, "options": {"name": "new", "cache_dir": str(tmp_path)} | options}
        return reader(READ_MODEL + LOAD_TASK, token, **names)

    return load


@pytest.mark.slow
def test_a_code_travels_alone(hub, push_code, load):
    url = push_code()
    files = hub.files("me/rte-code")
    assert url.startswith(f"{hub.url}/me/rte-code/commit/") and set(files) == {"README.md", "task_code.json"}
    content = json.loads(files["task_code.json"])
    assert (content["checkpoint"], content["template"]) == ("ctr-tiny", "{{premise}} {{hypothesis}}")
    assert (content["few_shot_seed"], content["scores"]) == (42, {"accuracy": 0.8})
    assert b'model.load_task("me/rte-code")' in files["README.md"] and b"- ctr-task-code" in files["README.md"]
    assert load("me/rte-code") == ["new", [1, 0, 7, 3]]
    assert load("me/rte-code", revision=url.rsplit("/", 1)[1]) == ["new", [1, 0, 7, 3]]
    hub.faults.append(("", "", 503))  # from the cache
    assert load("me/rte-code") == ["new", [1, 0, 7, 3]]


@pytest.mark.slow
def test_a_code_of_another_codebook_is_refused(hub, push_code, reader, saved, tiny_ctr_model, tmp_path):
    push_code()
    tiny_ctr_model(seed=5).save_pretrained(tmp_path / "other")
    names = {"saved": str(tmp_path / "other"), "source": "me/rte-code", "options": {"cache_dir": str(tmp_path)}}
    message = fails(reader, "ValueError", READ_MODEL + LOAD_TASK, **names)
    assert "'me/rte-code' belongs to another codebook, that of 'ctr-tiny'" in message


@pytest.mark.slow
def test_what_cannot_be_loaded_says_why(hub, push_code, author, reader, saved, tmp_path):
    push_code(private=True)
    code, options = READ_MODEL + LOAD_TASK, {"name": "new", "cache_dir": str(tmp_path)}
    names = {"saved": saved, "source": "me/rte-code", "options": options}
    start = "Loading a task code from 'me/rte-code' failed: "
    for token in (None, OTHER):
        message = fails(reader, "OSError", code, token, **names)
        assert message.startswith(f"{start}there is no repository 'me/rte-code' on the Hub, or it is private")
    assert "valid token" in fails(reader, "OSError", code, "hf_wrong", **names)
    assert reader(code, READ, **names)[0] == "new"

    empty = names | {"options": options | {"cache_dir": str(tmp_path / "empty")}}
    revision = {"options": options | {"revision": "v9"}}
    assert "has no such branch, tag or commit" in fails(reader, "OSError", code, READ, **names | revision)
    author("from huggingface_hub import HfApi\nHfApi().create_repo('me/else')", WRITE)
    message = fails(reader, "ValueError", code, **names | {"source": "me/else"})
    assert message.startswith("The repository 'me/else' holds no task_code.json: it is not a task code.")
    hub.faults.append(("HEAD", "", 500))
    message = fails(reader, "OSError", code, READ, **empty)
    assert message == f"{start}the Hub has a fault of its own (500); try again later."
    hub.faults[:] = [("HEAD", "", "hang up")]
    assert "the Hub cannot be reached" in fails(reader, "OSError", code, READ, **empty)


@pytest.mark.slow
def test_a_code_that_cannot_be_pushed_says_why(hub, author, saved):
    names = {"saved": saved, "options": {}}
    start = "Pushing the code of 'rte' to 'me/rte-code' failed: "
    assert fails(author, "OSError", PUSH_CODE, **names).startswith(f"{start}the Hub needs a valid token")
    assert "write permission" in fails(author, "OSError", PUSH_CODE, READ, **names)
    hub.faults.append(("POST", "/commit/", "hang up"))
    assert fails(author, "OSError", PUSH_CODE, WRITE, **names).startswith(f"{start}the Hub cannot be reached")
    assert hub.files("me/rte-code") == {}


@pytest.mark.slow
def test_codes_are_found_by_the_models_name(hub, push_code, author, saved, load):
    def find(model_name="me/ctr", token=None, **options):
        return author(FIND_CODES, token, model_name=model_name, options=options)

    assert find() == []
    push_code(checkpoint="me/ctr")
    for repo_id, checkpoint, private in (
        ("me/private-code", "me/ctr", True),
        ("me/code-of-another", "me/ctr-large", False),
        ("me/code-of-a-folder", "ctr", False),
    ):
        code = PUSH_CODE.replace("me/rte-code", repo_id)
        author(code, WRITE, saved=saved, options={"checkpoint": checkpoint, "private": private})
    # A fine-tuned model names its base, too, but is no code.
    author("from huggingface_hub import HfApi, ModelCard\nHfApi().create_repo('me/tuned')\n"
           "ModelCard('---\\nbase_model: me/ctr\\ntags: [ctr]\\n---\\n').push_to_hub('me/tuned')", WRITE)  # fmt: skip
    assert find() == find(token=OTHER) == ["me/rte-code"]
    assert find(token=READ) == ["me/private-code", "me/rte-code"]
    assert find(author="other") == [] and find(author="me") == ["me/rte-code"]
    assert find("me/ctr-large") == ["me/code-of-another"]
    assert load(find()[0]) == ["new", [1, 0, 7, 3]]
    message = fails(author, "ValueError", FIND_CODES, model_name="ctr", options={})
    assert message == "'ctr' is no name of a model on the Hub (user/name), by which task codes are found."
    hub.faults.append(("GET", "/api/models", 500))
    message = fails(author, "OSError", FIND_CODES, model_name="me/ctr", options={})
    assert message.startswith("Looking for task codes of 'me/ctr' failed: the Hub has a fault of its own (500)")
