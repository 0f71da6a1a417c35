"""Training the model with plain torch, transformers' own trainer and peft."""

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.trainer_pt_utils import LabelSmoother

from modeling_ctr import CTRForConditionalGeneration


def train(model, batch, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()


def snapshot(module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# -------------------------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize("kind", ["t5", "t5-v1.1", "bart"])
def test_a_frozen_language_model_stays_bit_equal_while_every_ctr_part_moves(kind, tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model(kind)
    model.backbone.requires_grad_(False)
    language_model, codebook = snapshot(model.backbone), snapshot(model.task_codebook)
    train(model, tiny_batch(model))
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, language_model[name]), name
    for name, tensor in model.task_codebook.state_dict().items():
        assert not torch.equal(tensor, codebook[name]), name
    # Task ids 0, 1 and 2 are all in the batch.
    moved = (model.task_codebook.task_embedding.weight != codebook["task_embedding.weight"]).any(1)
    assert moved.tolist() == [True, True, True]


def test_frozen_position_maps_stay_as_in_the_original(tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5")
    model.backbone.requires_grad_(False)
    model.task_codebook.position_maps.requires_grad_(False)
    before = snapshot(model.task_codebook)
    train(model, tiny_batch(model))
    for name, tensor in model.task_codebook.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name == "position_maps.weight"), name


def test_training_lowers_both_losses(tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5")
    batch = tiny_batch(model)
    before = model(**batch)
    train(model, batch, steps=30)
    after = model(**batch)
    assert after.lm_loss < 0.5 * before.lm_loss and after.vq_loss < before.vq_loss


# ---------------------------------------------------------------------------------------------- transformers' trainer


def trainer(model, examples, tmp_path, **fields) -> Seq2SeqTrainer:
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **fields,
    )
    return Seq2SeqTrainer(model=model, args=arguments, train_dataset=examples)


def test_accumulation_leaves_loss_and_gradient_norm(tiny_ctr_model, tmp_path):
    torch.manual_seed(0)
    examples = [
        {"input_ids": torch.randint(3, 64, (6,)), "labels": torch.randint(3, 64, (4,)), "task_id": task}
        for task in (0, 1, 2, 2)
    ]
    batch = {name: torch.stack([torch.as_tensor(e[name]) for e in examples]) for name in examples[0]}
    model = tiny_ctr_model("t5")
    expected = model(**batch).loss
    expected.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    for accumulation in (1, 4):
        run = trainer(
            tiny_ctr_model("t5"),
            examples,
            tmp_path,
            per_device_train_batch_size=4 // accumulation,
            gradient_accumulation_steps=accumulation,
        )
        run.train()
        log = run.state.log_history[0]
        assert log["loss"] == pytest.approx(expected.item(), rel=1e-3)  # rounded to four digits by transformers
        assert log["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_evaluation_gathers_logits_alone(tiny_ctr_model, tmp_path):
    examples = [{"input_ids": torch.tensor([5, 6, 1]), "labels": torch.tensor([7, 1]), "task_id": t} for t in (0, 1)]
    run = trainer(tiny_ctr_model("t5"), examples, tmp_path, per_device_eval_batch_size=2)
    predictions = run.predict(examples).predictions
    assert predictions.shape == (2, 2, 64)


def test_label_smoothing_finds_what_it_needs(tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5")
    batch = tiny_batch(model)
    lm_loss = model(**batch).lm_loss
    labels = batch.pop("labels")
    output = model(**batch, decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels))
    torch.testing.assert_close(LabelSmoother(epsilon=0.0)(output, labels), lm_loss)
    mask = labels != -100
    uniform = -output.logits.log_softmax(-1).mean(-1)[mask].mean()
    torch.testing.assert_close(LabelSmoother(epsilon=0.1)(output, labels), 0.9 * lm_loss + 0.1 * uniform)


# ------------------------------------------------------------------------------------------------------------- peft


@pytest.fixture
def peft_model(tiny_ctr_model):
    config = LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        r=2,
        target_modules=["q", "v"],
        modules_to_save=["task_codebook"],
        init_lora_weights=True,
    )
    return get_peft_model(tiny_ctr_model("t5-v1.1"), config)


def test_peft_trains_lora_and_codebook_only(peft_model, tiny_batch):
    before = snapshot(peft_model)
    batch = tiny_batch(peft_model)
    train(peft_model, batch)
    for name, tensor in peft_model.state_dict().items():
        trained = "lora_" in name or "modules_to_save" in name
        assert torch.equal(tensor, before[name]) != trained, name


def test_peft_passes_tasks_on(peft_model, tiny_batch):
    batch = tiny_batch(peft_model)
    plain = peft_model.get_base_model()
    peft_model.eval()
    logits = peft_model(**batch).logits
    assert torch.equal(logits, plain(**batch).logits)
    assert not torch.equal(logits, peft_model(**batch | {"task_id": torch.tensor([0, 0, 0])}).logits)
    task_id = batch.pop("task_id")
    by_code = peft_model(**batch, task_code=peft_model.task_codes()[task_id])
    assert torch.equal(by_code.logits, logits)
    del batch["labels"]
    options = {"max_new_tokens": 4, "no_repeat_ngram_size": 1}
    by_id = peft_model.generate(**batch, task_id=2, **options)
    assert torch.equal(peft_model.generate(**batch, task="ag_news", **options), by_id)


def test_peft_saves_reloads_and_merges(peft_model, tiny_ctr_model, tiny_batch, tmp_path):
    batch = tiny_batch(peft_model)
    train(peft_model, batch)
    expected = peft_model(**batch)
    codes = peft_model.task_codes()
    peft_model.save_pretrained(tmp_path / "adapter")

    reloaded = PeftModel.from_pretrained(tiny_ctr_model("t5-v1.1"), tmp_path / "adapter").eval()
    assert torch.equal(reloaded(**batch).logits, expected.logits)
    assert torch.equal(reloaded.task_codes(), codes)

    merged = reloaded.merge_and_unload()
    assert type(merged) is CTRForConditionalGeneration
    assert not any("lora" in name or "modules_to_save" in name for name in merged.state_dict())
    merged.save_pretrained(tmp_path / "merged")
    for model in (merged, CTRForConditionalGeneration.from_pretrained(tmp_path / "merged")):
        torch.testing.assert_close(model(**batch).logits, expected.logits, atol=1e-4, rtol=1e-4)
        assert torch.equal(model.task_codes(), codes)
        assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
