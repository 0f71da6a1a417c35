"""Numerical equality with the authors' implementation, on values recorded from it (see the material's README)."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeling_ctr import CTRForConditionalGeneration
from modeling_ctr.convert_original_checkpoint import convert_original_checkpoint


@pytest.fixture(scope="module")
def reference(shared):
    if not (shared / "reference").is_dir():
        pytest.skip("no recorded values of the original implementation in ../shared/reference")
    return shared / "reference"


@pytest.fixture(scope="module")
def recorded(reference):
    with np.load(reference / "forward.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def model(request, reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_original_checkpoint(reference / "original_tiny", folder)
    return CTRForConditionalGeneration.from_pretrained(folder, attn_implementation=request.param)


@pytest.fixture(scope="module")
def batch(recorded):
    return {
        "input_ids": recorded["input_ids"],
        "attention_mask": recorded["attention_mask"],
        "decoder_input_ids": recorded["decoder_input_ids"],
        "labels": recorded["labels"].masked_fill(recorded["loss_mask"] == 0, -100),
    }


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def test_codes_of_all_tasks(model, recorded, reference):
    assert torch.equal(model.task_codes(), recorded["all_task_codes"])
    codebook = json.loads((reference / "original_tiny/codebok_step20.json").read_text())
    for name, code in codebook.items():
        assert model.get_task_code(name).tolist() == json.loads(code)
    assert_close(model.task_codebook.all_queries(), recorded["all_task_encodings"], 1e-5)
    assert_close(model.prompt_vectors(model.task_codes()), recorded["all_task_prompt_embs"], 1e-5)


def test_by_task(model, recorded, batch):
    with torch.no_grad():
        output = model(**batch, task_id=recorded["task_ids"])
    assert_close(output.logits, recorded["logits"], 1e-4)
    assert_close(output.encoder_last_hidden_state, recorded["encoder_output"], 1e-4)
    assert_close(output.lm_loss, recorded["lm_loss"], 1e-5)
    assert_close(output.vq_loss, recorded["vae_loss"], 1e-5)
    assert_close(output.loss, recorded["total_loss"], 1e-5)


@pytest.mark.parametrize("code", ["code", "task_code"])
def test_by_code(model, recorded, batch, code):
    with torch.no_grad():
        output = model(**batch, task_code=recorded[code])
    assert_close(output.logits, recorded[f"logits_{code}"], 1e-4)
    summed = F.cross_entropy(output.logits.transpose(1, 2), batch["labels"], reduction="sum")
    torch.testing.assert_close(summed, recorded[f"summed_loss_{code}"], atol=1e-4, rtol=1e-6)
    if code == "code":
        assert_close(model.prompt_vectors(recorded["code"]), recorded["code_prompt_embs"], 1e-5)


def test_long_inputs(model, recorded):
    with torch.no_grad():
        logits = model(
            input_ids=recorded["long_input_ids"],
            decoder_input_ids=recorded["long_decoder_input_ids"],
            task_code=recorded["long_code"],
        ).logits
    assert_close(logits[:, :8], recorded["long_logits_first8"], 1e-4)
    assert_close(logits[:, -8:], recorded["long_logits_last8"], 1e-4)


@pytest.mark.parametrize("loss", ["total", "vae", "lm"])
def test_gradients(model, recorded, batch, loss):
    model.zero_grad()
    output = model(**batch, task_id=recorded["task_ids"])
    {"total": output.loss, "vae": output.vq_loss, "lm": output.lm_loss}[loss].backward()
    codebook, backbone = model.task_codebook, model.backbone
    attention = backbone.encoder.block[0].layer[0].SelfAttention
    weights = {
        "task_embeddings": [codebook.task_embedding],
        "vae_encoder": [codebook.position_maps],
        "quantizer_embedding": [codebook.code_vectors],
        "vae_decoder": [codebook.prompt_decoder],
        "word_embeddings": [backbone.shared],
        "lm_head": [backbone.lm_head],
        "encoder_relative_bias": [attention.relative_attention_bias],
        "decoder_relative_bias": [backbone.decoder.block[0].layer[0].SelfAttention.relative_attention_bias],
        "encoder_qkv_0": [attention.q, attention.k, attention.v],
    }
    names = [name for name in recorded if name.startswith(f"grad_{loss}.")]
    assert len(names) == (9 if loss == "total" else 4)
    for name in names:
        gradients = [
            torch.zeros_like(m.weight) if m.weight.grad is None else m.weight.grad for m in weights[name.split(".")[1]]
        ]
        torch.testing.assert_close(
            torch.cat(gradients), recorded[name], atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("task", ["task_id", "code"])
def test_choice_scores(model, reference, task):
    with np.load(reference / "choice_scoring.npz") as arrays:
        choices = {name: torch.from_numpy(arrays[name]) for name in arrays}
    given = {"task_id": choices["task_id"].expand(8)} if task == "task_id" else {"task_code": choices["code"]}
    labels = choices["candidate_token_ids"].masked_fill(choices["candidate_attention_mask"] == 0, -100)  # (8, 3, 6)
    inputs = {name: choices[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        scores = model.choice_log_likelihoods(choice_ids=labels, **inputs, **given)
        assert_close(scores, choices[f"scores_{task}"], 1e-4)
        for choice in range(3):  # and without the shortcut of one encoder pass
            targets = labels[:, choice].contiguous()
            logits = model(**inputs, **given, labels=targets).logits
            losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            assert_close(-losses.sum(1), choices[f"scores_{task}"][:, choice], 1e-4)
