"""Stage 1 on language models whose weights are quantized; each skips without its library, which the project does not ask for."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from modeling_ctr import CTRForCausalLM
from modeling_ctr.check_gradients import check_gradients
from trainers import CTRTrainer, CTRTrainingArguments

TASKS = ["ag_news", "glue_mrpc"]


def make_config(kind: str):
    if kind.startswith("torchao"):
        quantization = pytest.importorskip("torchao.quantization")
        from transformers import TorchAoConfig

        if kind == "torchao int8 with int8 activations":
            return TorchAoConfig(quantization.Int8DynamicActivationInt8WeightConfig())
        return TorchAoConfig(quantization.Int8WeightOnlyConfig())
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    if kind == "bitsandbytes int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)


@pytest.fixture
def language_model(tiny_causal_config, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes["initializer_range"] = 0.02  # as of real models: with larger weights, so is what rounding to four bits does
    AutoModelForCausalLM.from_config(tiny_causal_config("llama", **sizes)).save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


@pytest.mark.parametrize(
    "kind, tolerance", [("torchao int8", 0.01), ("bitsandbytes int8", 0.01), ("bitsandbytes nf4", 0.1)]
)
def test_stage_1_on_a_quantized_language_model(kind, tolerance, language_model, tmp_path):
    quantization = make_config(kind)
    common = {"task_names": TASKS, "code_position": "suffix"}
    model = CTRForCausalLM.from_backbone(language_model, quantization_config=quantization, **common)
    plain = CTRForCausalLM.from_backbone(language_model, **common)
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
    if kind != "bitsandbytes nf4":  # whose product on a CPU may have no gradient, see below
        assert losses[-1] < 0.95 * losses[0]

    model.eval().save_pretrained(tmp_path / "saved")
    loaded = CTRForCausalLM.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        text = {"input_ids": ids[:, :6], "task": TASKS}
        torch.testing.assert_close(loaded(**text).logits, model(**text).logits)


def train(model, tmp_path):
    rows = [{"input_ids": [5 + i, 9, 20 + i, 1], "labels": [7 + i % 2, 1], "task_id": i % 2} for i in range(16)]
    common = {
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    args = CTRTrainingArguments(output_dir=str(tmp_path / "out"), learning_rate=3e-2, **common)
    trainer = CTRTrainer(model, args, train_dataset=Dataset.from_list(rows))
    trainer.train()
    return [logs["lm_loss"] for logs in trainer.state.log_history if "lm_loss" in logs]


@pytest.mark.parametrize("kind", ["torchao int8", "bitsandbytes int8"])
def test_a_trainer_trains_it(kind, language_model, tmp_path):
    make = {"quantization_config": make_config(kind), "task_names": TASKS}
    losses = train(CTRForCausalLM.from_backbone(language_model, **make), tmp_path)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("code_position", ["prefix", "suffix"])
def test_a_trainer_refuses_what_has_no_gradient(code_position, language_model, tmp_path):
    make = {"quantization_config": make_config("bitsandbytes nf4"), "task_names": TASKS}
    from bitsandbytes.functional import has_avx512bf16

    model = CTRForCausalLM.from_backbone(language_model, code_position=code_position, **make)
    if not has_avx512bf16():  # only there weights are packed, the first time that they are read in evaluation mode
        losses = train(model, tmp_path)
        assert losses[-1] < 0.95 * losses[0]
        return
    with pytest.raises(
        ValueError, match="No gradient comes back through the quantized language model on the device 'cpu'"
    ):
        train(model, tmp_path)


def test_activations_rounded_to_8_bits_have_no_gradient(language_model):
    quantization = make_config("torchao int8 with int8 activations")
    model = CTRForCausalLM.from_backbone(language_model, quantization_config=quantization, task_names=TASKS)
    with pytest.raises(ValueError, match="No gradient comes back through the quantized language model"):
        check_gradients(model, training=True)


def test_4_bits_that_are_not_packed_pass(language_model, monkeypatch):
    quantization = make_config("bitsandbytes nf4")
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)  # as on other processors
    model = CTRForCausalLM.from_backbone(language_model, quantization_config=quantization, task_names=TASKS)
    check_gradients(model, training=True)
