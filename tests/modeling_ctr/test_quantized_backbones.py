"""Stage 1 on language models whose weights are quantized; each skips without its library, which the project does not ask for."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from modeling_ctr import CTRForCausalLM

TASKS = ["ag_news", "glue_mrpc"]


def make_config(kind: str):
    if kind == "torchao int8":
        quantization = pytest.importorskip("torchao.quantization")
        from transformers import TorchAoConfig

        return TorchAoConfig(quantization.Int8WeightOnlyConfig())
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    if kind == "bitsandbytes int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)


@pytest.mark.parametrize(
    "kind, tolerance", [("torchao int8", 0.01), ("bitsandbytes int8", 0.01), ("bitsandbytes nf4", 0.1)]
)
def test_stage_1_on_a_quantized_language_model(kind, tolerance, tiny_causal_config, tmp_path):
    quantization = make_config(kind)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    AutoModelForCausalLM.from_config(tiny_causal_config("llama", **sizes)).save_pretrained(tmp_path / "lm")
    common = {"task_names": TASKS, "code_position": "suffix"}
    model = CTRForCausalLM.from_backbone(tmp_path / "lm", quantization_config=quantization, **common)
    plain = CTRForCausalLM.from_backbone(tmp_path / "lm", **common)
    plain.task_codebook.load_state_dict(model.task_codebook.state_dict())
    assert {p.dtype for p in model.task_codebook.parameters()} == {torch.float32}

    ids = torch.randint(3, 60, (2, 9))
    labels = ids.masked_fill(torch.arange(9) < 6, -100)
    batch = {"input_ids": ids, "labels": labels, "task_id": torch.tensor([0, 1]), "logits_to_keep": 4}
    model.backbone.requires_grad_(False)
    model.train()
    optimizer = torch.optim.AdamW(model.task_codebook.parameters(), lr=3e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        output = model(**batch)
        output.loss.backward()
        optimizer.step()
        losses.append(output.lm_loss.item())
    assert losses[0] == pytest.approx(plain(**batch).lm_loss.item(), rel=tolerance)
    if kind != "bitsandbytes nf4":  # whose product on a CPU has no gradient (bitsandbytes 0.50.2)
        assert losses[-1] < 0.95 * losses[0]

    model.eval().save_pretrained(tmp_path / "saved")
    loaded = CTRForCausalLM.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        text = {"input_ids": ids[:, :6], "task": TASKS}
        torch.testing.assert_close(loaded(**text).logits, model(**text).logits)
