"""A saved directory carries the model's own files and works where this project is not installed."""

import os
import subprocess
import sys

import pytest
import torch

from modeling_ctr import CTRForConditionalGeneration

LOAD_ELSEWHERE = """
import importlib.util, sys
sys.path += {site_packages!r}
assert importlib.util.find_spec("modeling_ctr") is None, "this process can import the project"
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

config = AutoConfig.from_pretrained({folder!r}, trust_remote_code=True)
assert config.task_names == ["glue_mrpc", "glue_qqp", "ag_news"], config.task_names
batch = torch.load({batch!r}, weights_only=True)
for folder in ({folder!r}, {again!r}):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
    model.add_task("rte" + folder[-1], [7, 0, 1, 2])
    model.add_tuned_task("cb" + folder[-1], 2 * model.get_task_vectors("tuned"))
    model.save_pretrained({again!r})
inputs = {{name: batch[name] for name in ("input_ids", "attention_mask")}}
out = {{
    task: model.generate(**inputs, task=task, max_new_tokens=6, no_repeat_ngram_size=1) for task in ("ag_news", "tuned")
}}
torch.save({{"logits": model(**batch).logits.detach(), **out}}, {out!r})
"""


@pytest.mark.slow
def test_remote_code(tiny_ctr_model, tiny_batch, tmp_path):
    model = tiny_ctr_model("t5-v1.1")
    batch = tiny_batch(model)
    folder, again, elsewhere = tmp_path / "saved", tmp_path / "again", tmp_path / "elsewhere"
    elsewhere.mkdir()
    model.add_tuned_task("tuned", model.get_task_vectors("ag_news") + 0.5)
    model.save_pretrained(folder)
    torch.save(batch, tmp_path / "batch.pt")
    script = LOAD_ELSEWHERE.format(
        site_packages=[path for path in sys.path if "site-packages" in path],
        folder=str(folder),
        again=str(again),
        batch=str(tmp_path / "batch.pt"),
        out=str(tmp_path / "out.pt"),
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # -I: neither the current folder nor PYTHONPATH; -S: no .pth files, so that a development install is not seen.
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=elsewhere,
        env=environment | {"HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(out["logits"], model(**batch).logits)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for task in ("ag_news", "tuned"):
        generated = model.generate(**inputs, task=task, max_new_tokens=6, no_repeat_ngram_size=1)
        assert torch.equal(out[task], generated)
    # What that process saved is a checkpoint for us, its added and tuned tasks included.
    loaded = CTRForConditionalGeneration.from_pretrained(again)
    assert loaded.task_names == [*model.config.task_names, "rted", "rten", "tuned", "cbd", "cbn"]
    assert torch.equal(loaded.get_task_vectors("cbn"), 2 * model.get_task_vectors("tuned"))


def test_a_saved_directory_holds_the_files_that_it_needs(tiny_ctr_model, tmp_path):
    model = tiny_ctr_model("t5")
    model.save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.glob("*.py")}
    assert files >= {"configuration_ctr.py", "codebook.py", "modeling_ctr.py"}
    assert "convert_original_checkpoint.py" not in files
    auto_map = CTRForConditionalGeneration.from_pretrained(tmp_path).config.auto_map
    assert auto_map == {
        "AutoConfig": "configuration_ctr.CTRConfig",
        "AutoModelForSeq2SeqLM": "modeling_ctr.CTRForConditionalGeneration",
    }
