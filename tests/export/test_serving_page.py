"""The Python blocks of docs/serving.md run, in order, on a tiny model."""

import re
from pathlib import Path

from modeling_ctr import CTRForConditionalGeneration

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def test_every_python_block_runs(checkpoint, tmp_path, monkeypatch, capsys):
    model, tokenizer = CTRForConditionalGeneration.from_pretrained(checkpoint("t5")), checkpoint("t5")
    model.add_task("reviews", [1, 2, 3, 4])
    model.save_pretrained(tmp_path / "out" / "ctr")
    for file in tokenizer.glob("tokenizer*"):
        (tmp_path / "out" / "ctr" / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["<c1><c2><c3><c4>a text to answer", "<c3><c1><c0><c2>"]
    assert len(printed) == 6
