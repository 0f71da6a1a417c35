"""The Python blocks of docs/sharing.md, in order: they are one story, of an author and of readers without this project."""

import re
from pathlib import Path

import pytest
from hub_server import WRITE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sharing.md"


@pytest.mark.slow
def test_every_block_runs(hub, author, reader, saved, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    names = {"saved": saved, "folder": str(tmp_path)}
    # The author's model of the first block: one that does not know what is added to it.
    start = """
import os
from modeling_ctr import CTRForConditionalGeneration
from transformers import AutoTokenizer
os.chdir(folder)
model = CTRForConditionalGeneration.from_pretrained(saved)
for task in model.task_names[model.config.num_tasks:]:
    model.remove_task(task)
model.save_pretrained("out/stage2")
AutoTokenizer.from_pretrained(saved).save_pretrained("out/stage2")
"""
    by_author = [block for block in blocks if "trust_remote_code" not in block]
    by_readers = [block for block in blocks if "trust_remote_code" in block]
    author(start + "\n".join(by_author), WRITE, **names)
    assert set(hub.repositories) == {"me/ctr-large", "me/rte-code"} and (tmp_path / "rte.json").is_file()
    assert "['me/rte-code']" in author.output  # found by the model's name
    for block in by_readers:
        reader(block, WRITE)
    assert (tmp_path / "out/rte-adapter/adapter_model.safetensors").is_file()
    assert "{{premise}}" not in reader.output  # the last block prints answers only
