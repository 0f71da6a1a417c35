"""ONNX graphs decode as the model does, whatever the sizes, with a task for each text."""

import sys

import pytest
import torch

from export.onnx_generator import OnnxGenerator
from export.onnx_model import export_to_onnx

TEXTS = ["A text, with words.", "no", "What is it, then", "(x) - 3.5", "W"]
TASKS = ["news", "found <b>", "tuned", "mood", [3, 1, 0, 2]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_greedy_answers_of_a_mixed_batch_are_those_of_generate(causal_model, tmp_path):
    """A decoder-only model; for T5, `test_serving_page.py` finds the same."""
    pytest.importorskip("transformers.exporters.exporter_onnx", reason="transformers 5.17 has no exporters")
    model, tokenizer = causal_model("llama")
    with torch.no_grad():  # larger weights say more than one thing
        for parameter in model.backbone.parameters():
            parameter.mul_(3 if parameter.dim() > 1 else 1)
    about = export_to_onnx(model, tmp_path / "onnx", tokenizer=tokenizer, tasks=["tuned", "news", "mood", "found <b>"])
    assert about["tasks"]["news"]["task_code"] == model.get_task_code("news").tolist()
    assert about["tasks"]["tuned"]["task_code"] == [16, 17, 18, 19]
    onnx = OnnxGenerator(tmp_path / "onnx")
    distinct = set()
    for rows in (slice(0, 5), slice(2, 3), slice(1, 5)):  # sizes other than those that were traced, and padding
        texts, tasks = TEXTS[rows], TASKS[rows]
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        codes = [torch.tensor(task)[None] for task in tasks if not isinstance(task, str)]
        vectors = [model.get_task_vectors(task) for task in tasks if isinstance(task, str)]
        vectors += [model.prompt_vectors(code)[0] for code in codes]
        expected = model.generate(**inputs, prompt_embeds=torch.stack(vectors), max_new_tokens=8)
        found = onnx.generate(texts, tasks, max_new_tokens=8)
        assert found.tolist() == expected[:, inputs["input_ids"].shape[1] :].tolist()
        distinct.update(map(tuple, found.tolist()))
    assert len(distinct) > 1  # or tasks and texts might make no difference


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_said(name, ctr_model, tmp_path, monkeypatch):
    model, tokenizer = ctr_model("t5")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"{name} is not installed: `pip install onnx onnxscript onnxruntime`"):
        export_to_onnx(model, tmp_path / "onnx", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []
