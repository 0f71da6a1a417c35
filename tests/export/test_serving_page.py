"""The Python blocks of docs/serving.md run, in order, on a tiny model."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_ctr import CTRForConditionalGeneration

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(ctr_model, tmp_path, monkeypatch):
    """`run(*blocks)`: run them in a folder with a CTR model in `out/ctr`; returns their names."""
    model, tokenizer = ctr_model("t5", num_layers=1)
    model.add_task("reviews", [1, 2, 3, 4])
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "out" / "ctr")
    monkeypatch.chdir(tmp_path)

    def run(*blocks: str) -> dict:
        names: dict = {}
        exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
        return names

    return run


def test_the_blocks_about_exported_models_run(run, capsys):
    assert len(BLOCKS) == 6
    run(*BLOCKS[:4])
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["<c1><c2><c3><c4>a text to answer", "<c3><c1><c0><c2>"]
    assert len(printed) == 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_gives_the_same_logits_and_answers(run):
    """The graphs of the CTR model, with sizes other than those they were made with, padding and codes of each row."""
    pytest.importorskip("transformers.exporters.exporter_onnx", reason="transformers 5.17 has no exporters")
    names = run(*BLOCKS[4:])
    model, reader, decoder = CTRForConditionalGeneration.from_pretrained("out/ctr"), names["reader"], names["decoder"]
    generator = torch.Generator().manual_seed(0)
    for batch, source, target in ((1, 5, 1), (3, 11, 4)):
        inputs = {
            "input_ids": torch.randint(3, 64, (batch, source), generator=generator),
            "attention_mask": torch.ones(batch, source, dtype=torch.long),
            "task_code": torch.randint(16, (batch, 4), generator=generator),
        }
        inputs["attention_mask"][1:2, 6:] = 0
        inputs["attention_mask"][2:3, :4] = 0
        ids = torch.randint(3, 64, (batch, target), generator=generator)
        read = names["run"](reader, **{name: tensor.numpy() for name, tensor in inputs.items()})
        state = {name.replace("present", "past_key_values"): value for name, value in read.items()}
        for each in decoder.get_inputs():
            if ".decoder." in each.name:
                state[each.name] = np.zeros((batch, each.shape[1], 0, each.shape[3]), np.float32)
        found = names["run"](decoder, decoder_input_ids=ids.numpy(), **state)["logits"]
        with torch.no_grad():
            expected = model(**inputs, decoder_input_ids=ids, use_cache=False).logits
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    texts = ["a text", "another one", "third"]
    inputs = names["onnx"].tokenizer(texts, return_tensors="pt", padding=True)
    expected = model.generate(**inputs, task_code=torch.tensor([3, 1, 0, 2]), max_new_tokens=8)
    found = names["answer"](texts, [[3, 1, 0, 2]] * 3)
    for row, ids in zip(expected.tolist(), found.tolist(), strict=True):
        end = row.index(1) + 1 if 1 in row else len(row)
        assert ids[:end] == row[:end]
    tasks = ["reviews", "found <b>", "tuned"]
    expected = model.generate(**inputs, task=tasks, max_new_tokens=8)[:, 1:]
    assert names["onnx"].generate(texts, tasks, max_new_tokens=8).tolist() == expected.tolist()
