import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSeq2SeqLM

from export import export_model
from export.plain_model import NEVER


@pytest.mark.parametrize("family", ["t5", "t5-v1.1", "bart"])
def test_old_rows_stay_and_new_ones_are_the_vectors(family, ctr_model, tmp_path):
    model, tokenizer = ctr_model(family)
    exported = export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain")
    num_rows = model.get_input_embeddings().num_embeddings
    assert exported.vocab_size == num_rows > len(tokenizer) - 1  # T5's has rows without a token
    table, head = plain.get_input_embeddings(), plain.get_output_embeddings()
    assert len(table.weight) == len(head.weight) == plain.config.vocab_size == num_rows + 16 + 4
    assert torch.equal(table.weight[:num_rows], model.get_input_embeddings().weight)
    assert torch.equal(head.weight[:num_rows], model.get_output_embeddings().weight)
    assert (head.weight is table.weight) == (family != "t5-v1.1")
    code = exported.tasks["news"]["code"]
    seen = table(num_rows + torch.tensor(code))  # scaled, where the layer scales
    torch.testing.assert_close(seen, model.get_task_vectors("news"), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(table(num_rows + 16 + torch.arange(4)), model.get_task_vectors("tuned"))
    assert plain.generation_config.suppress_tokens == list(range(num_rows, num_rows + 20))
    if family == "bart":
        assert (
            plain.final_logits_bias[0, num_rows:].eq(NEVER).all() and plain.final_logits_bias[0, :num_rows].eq(0).all()
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_several_files_are_kept(dtype, ctr_model, tmp_path):
    model, tokenizer = ctr_model("bart")
    model.backbone.to(dtype)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "ctr")
    export_model(tmp_path / "ctr", tmp_path / "plain", max_shard_size="20KB")
    index = json.loads((tmp_path / "plain" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    for name in set(index["weight_map"].values()):
        with safe_open(tmp_path / "plain" / name, framework="pt") as file:
            assert {file.get_tensor(key).dtype for key in file.keys()} == {dtype}  # noqa: SIM118 - no mapping
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain", dtype="auto").dtype == dtype


def test_probabilities_have_no_share_for_code_tokens(ctr_model, tmp_path):
    """A vector that looks like the answer would win, were it not suppressed."""
    model, tokenizer = ctr_model("t5")
    model.backbone.get_input_embeddings().weight.data[:] *= 0.01
    exported = export_model(model, tmp_path / "plain", tokenizer=tokenizer)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain")
    inputs = tokenizer(["a text"], return_tensors="pt")
    from transformers import AutoTokenizer

    after = AutoTokenizer.from_pretrained(tmp_path / "plain")(
        exported.get_prefix("tuned") + "a text", return_tensors="pt"
    )
    raw = plain(**after, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits
    assert raw.argmax() >= exported.vocab_size
    for beams in (1, 3):
        ours = model.generate(**inputs, task="tuned", num_beams=beams, max_new_tokens=5)
        assert plain.generate(**after, num_beams=beams, max_new_tokens=5).tolist() == ours.tolist()
