"""Training decoder-only models: batches, both stages and a plain language model, on the toy mixture."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from trainers import CTRTrainer, CTRTrainingArguments, MultitaskTrainer
from trainers.causal_inputs import prepare_causal_inputs
from trainers.collators import CTRDataCollator


@pytest.fixture(params=["prefix", "suffix"])
def model(request, tiny_causal_model):
    return tiny_causal_model("gpt2", code_position=request.param)


@pytest.fixture
def batch(mixture):
    return CTRDataCollator(0, 3)([mixture[i] for i in range(6)])


@torch.no_grad()
def test_the_loss_is_that_of_each_answer_behind_its_text(model, batch):
    output = model(**prepare_causal_inputs(model, batch), task_id=batch["task_id"])
    losses = []
    for row in range(6):
        text = batch["input_ids"][row, : batch["attention_mask"][row].sum()]
        answer = batch["labels"][row][batch["labels"][row] != -100]
        ids = torch.cat([text, answer])[None]
        labels = torch.cat([torch.full_like(text, -100), answer])[None]
        logits = model(ids, labels=labels, task_id=batch["task_id"][row]).logits[0, len(text) - 1 : -1]
        losses.append(F.cross_entropy(logits, answer, reduction="none"))
    torch.testing.assert_close(output.lm_loss, torch.cat(losses).mean(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing_for_a_plain_language_model(model, batch):
    plain = model.backbone
    expected = plain(**prepare_causal_inputs(plain, batch)).loss
    wider = {"input_ids": F.pad(batch["input_ids"], (0, 5)), "attention_mask": F.pad(batch["attention_mask"], (0, 5))}
    torch.testing.assert_close(plain(**prepare_causal_inputs(plain, batch | wider)).loss, expected)


@pytest.mark.parametrize("stage", [1, 2])
def test_both_stages(stage, model, train, mixture):
    language_model = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    trainer = train(model, stage=stage, max_steps=4, learning_rate=1e-2)
    same = [torch.equal(tensor, language_model[name]) for name, tensor in model.backbone.state_dict().items()]
    assert all(same) == (stage == 1)
    first = trainer.state.log_history[0]
    assert first["lm_loss"] > 0 and first["vq_loss"] > 0
    metrics = trainer.evaluate()
    assert {"eval_accuracy", "eval_accuracy_ag_news"} <= set(metrics)
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_lm_loss"] + metrics["eval_vq_loss"], abs=1e-4)


def test_accumulation_and_label_smoothing(model, train, tiny_causal_model):
    whole, parts = model, tiny_causal_model("gpt2", code_position=model.config.code_position)
    common = {"stage": 2, "max_steps": 1, "logging_steps": 1, "label_smoothing_factor": 0.1}
    one = train(whole, per_device_train_batch_size=8, **common).state.log_history[0]
    other = train(parts, per_device_train_batch_size=2, gradient_accumulation_steps=4, **common).state.log_history[0]
    for name in ("lm_loss", "grad_norm"):
        assert one[name] == pytest.approx(other[name], rel=1e-3), name


@pytest.mark.parametrize(("stage", "position"), [(1, "suffix"), (2, "prefix")])
def test_batches_by_tokens(stage, position, tiny_causal_model, train):
    """As many tokens as allowed at most, each example once an epoch, and the same result in parts as at once."""
    shapes: list[torch.Size] = []

    def run(tokens: int, **settings):
        model = tiny_causal_model("llama", code_position=position)
        model.register_forward_pre_hook(
            lambda module, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True
        )
        trainer = train(
            model, stage=stage, num_train_epochs=1, max_steps=-1, optim="sgd", learning_rate=0.01, logging_steps=1,
            per_device_train_tokens=tokens, **settings,
        )  # fmt: skip
        assert sum(rows for rows, _ in shapes) == 96 and max(map(torch.Size.numel, shapes)) <= tokens
        assert all(rows != trainer.args.per_device_train_batch_size for rows, _ in shapes)
        shapes.clear()
        return model, trainer.state.log_history[:-1]

    (whole, at_once), (parts, in_parts) = run(400), run(100, gradient_accumulation_steps=4)
    for one, other in zip(at_once, in_parts, strict=True):
        for name in ("loss", "lm_loss", "vq_loss", "grad_norm", "epoch"):
            assert one[name] == pytest.approx(other[name], rel=1e-3), name
    start = tiny_causal_model("llama", code_position=position).state_dict()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, atol=1e-4, rtol=1e-4)
        if name.startswith("backbone.model.layers"):
            assert torch.equal(tensor, start[name]) == (stage == 1), name


def test_a_checkpoint_says_how_to_load_it(model, train, tmp_path):
    train(model, max_steps=1).save_model(tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded.task_codes(), model.task_codes())


def test_a_plain_language_model_is_trained_too(tiny_causal_config, mixture, tmp_path):
    plain = AutoModelForCausalLM.from_config(tiny_causal_config("llama"))
    args = CTRTrainingArguments(
        output_dir=str(tmp_path), stage=2, max_steps=2, logging_steps=1, save_strategy="no", report_to="none",
        use_cpu=True, disable_tqdm=True, gradient_accumulation_steps=2,
    )  # fmt: skip
    data = {"train_dataset": mixture, "eval_dataset": mixture, "task_names": ["same", "next", "fixed"]}
    trainer = MultitaskTrainer(plain, args, **data)
    trainer.train()
    assert trainer.state.log_history[0]["lm_loss"] > 0
    # An evaluation knows no accumulation of gradients, whether there was a training before or not.
    loss = trainer.evaluate()["eval_loss"]
    assert loss == MultitaskTrainer(plain, args, **data).evaluate()["eval_loss"]
    expected = prepare_causal_inputs(plain, CTRDataCollator(0, 3)([*mixture]))
    assert loss == pytest.approx(plain(**expected).loss.item(), rel=0.05)  # of batches of other sizes
    with pytest.raises(ValueError, match="trains a CTR model, but got a LlamaForCausalLM"):
        CTRTrainer(plain, args, train_dataset=mixture)


@pytest.mark.parametrize("is_plain", [False, True])
def test_what_is_written_is_what_generate_writes_of_each_text(is_plain, model, mixture, tmp_path):
    args = CTRTrainingArguments(
        output_dir=str(tmp_path), predict_with_generate=True, generation_max_length=5, report_to="none", use_cpu=True,
        per_device_eval_batch_size=4, disable_tqdm=True,
    )  # fmt: skip
    rows = mixture.select(range(6))
    if is_plain:
        trainer = MultitaskTrainer(model.backbone, args, eval_dataset=rows, task_names=model.config.task_names)
    else:
        trainer = CTRTrainer(model, args, eval_dataset=rows)
    prediction = trainer.predict(rows)
    for row, written, labels in zip(rows, prediction.predictions, prediction.label_ids, strict=True):
        text = torch.tensor([row["input_ids"]])
        task = {} if is_plain else {"task_id": torch.tensor([row["task_id"]])}
        expected = trainer.model.generate(text, attention_mask=torch.ones_like(text), max_new_tokens=5, **task)
        expected = expected[0, text.shape[1] :].tolist()
        assert written[: len(expected)].tolist() == expected and len(expected) <= 5
        assert (written[len(expected) :] <= 0).all()  # padding
        assert labels[labels != -100].tolist() == row["labels"]
    trainer.args.predict_with_generate = False
    assert prediction.metrics["test_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-5)
    assert "test_loss" not in trainer.predict(rows.remove_columns("labels")).metrics
