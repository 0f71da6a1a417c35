"""An exported model on the Hub: pushed from a model there, and read by somebody without this project."""

import pytest
from hub_client import fails
from hub_server import READ, WRITE

EXPORT = """
from export import export_model, get_task_prefix
export_model(source, folder, push_to_hub="me/plain", **options)
value = get_task_prefix("me/plain", "rte")
"""
ASK = """
import importlib.util, json
assert importlib.util.find_spec("modeling_ctr") is None
from huggingface_hub import hf_hub_download
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained("me/plain"), AutoTokenizer.from_pretrained("me/plain")
prefix = json.load(open(hf_hub_download("me/plain", "tasks.json")))["tasks"]["rte"]["prefix"]
inputs = tokenizer([prefix + "w5 w9 w30", prefix + "w7"], return_tensors="pt", padding=True)
value = model.generate(**inputs, max_new_tokens=6).tolist()
"""
OURS = """
from transformers import AutoTokenizer
from modeling_ctr import CTRForConditionalGeneration
model, tokenizer = CTRForConditionalGeneration.from_pretrained(source), AutoTokenizer.from_pretrained(source)
inputs = tokenizer(["w5 w9 w30", "w7"], return_tensors="pt", padding=True)
value = model.generate(**inputs, task="rte", max_new_tokens=6).tolist()
"""


@pytest.mark.slow
def test_from_the_hub_and_to_the_hub(hub, author, reader, saved, tmp_path):
    from test_push_and_load import PUSH

    author(PUSH, WRITE, saved=saved, repo_id="me/ctr", options={})
    names = {"source": "me/ctr", "folder": str(tmp_path / "plain"), "options": {"token": WRITE, "private": False}}
    assert author(EXPORT, WRITE, **names) == "<c1><c0><c7><c3>"
    assert set(hub.files("me/plain")) == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tasks.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert b"base_model: me/ctr" in hub.files("me/plain")["README.md"]
    assert reader(ASK) == author(OURS, source=saved)
    names["folder"] = str(tmp_path / "again")
    message = fails(author, "OSError", EXPORT, READ, **names | {"options": {"token": READ}})
    assert "use one with write permission" in message
    assert (tmp_path / "again" / "model.safetensors").is_file()  # what was written stays
