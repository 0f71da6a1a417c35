import json

import pytest
import torch
from transformers import EarlyStoppingCallback

from modeling_ctr import CTRForConditionalGeneration


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def largest_difference(a, b) -> float:
    return max((x - y).abs().max().item() for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


CODEBOOK = {
    f"task_codebook.{part}.weight" for part in ("task_embedding", "position_maps", "code_vectors", "prompt_decoder")
}


def test_stage_1_moves_every_part_of_the_codebook_and_nothing_else(build, train):
    model = build()
    before = weights(model)
    train(model, stage=1)
    assert moved(before, weights(model)) == CODEBOOK


def test_position_maps_can_be_kept_as_the_authors_did(build, train):
    model = build()
    before = weights(model)
    train(model, stage=1, train_position_maps=False)
    assert moved(before, weights(model)) == CODEBOOK - {"task_codebook.position_maps.weight"}


def test_stage_2_moves_everything(build, train):
    model = build()
    before = weights(model)
    train(model, stage=2)
    assert moved(before, weights(model)) == set(before)


def test_it_learns(build, train):
    model = build()
    trainer = train(model, stage=2, max_steps=150, learning_rate=0.01, query_learning_rate=0.001, logging_steps=150)
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy"] > 0.9
    assert {"eval_accuracy_same", "eval_accuracy_next", "eval_accuracy_fixed"} <= set(metrics)
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_lm_loss"] + metrics["eval_vq_loss"], abs=1e-4)


def test_groups_have_the_rates_and_decays_of_their_parts(build, train):
    trainer = train(build(), stage=1, lr_scheduler_type="constant", warmup_steps=0)
    groups = {(g["lr"], g["weight_decay"]): {id(p) for p in g["params"]} for g in trainer.optimizer.param_groups}
    codebook = trainer.model.task_codebook
    assert groups == {
        (0.001, 0.0): {id(codebook.task_embedding.weight)},
        (0.001, 0.1): {id(codebook.position_maps.weight)},
        (0.01, 0.0): {id(codebook.code_vectors.weight)},
        (0.01, 0.1): {id(codebook.prompt_decoder.weight)},
    }


def test_default_schedule_is_the_authors(build, train):
    trainer = train(build(), stage=1, max_steps=100, logging_steps=1)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    peak = max(rates)
    assert rates.index(peak) <= 5
    assert rates[79:] == pytest.approx([peak / 10] * 21, rel=0.02)
    assert rates[40] == pytest.approx(peak * 0.55, rel=0.1)


def test_another_schedule_is_left_alone(build, train):
    trainer = train(build(), stage=1, lr_scheduler_type="linear", warmup_steps=0, logging_steps=1, max_steps=4)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates == pytest.approx([r * rates[0] for r in (1, 0.75, 0.5, 0.25)])


def test_accumulation_changes_nothing(build, train):
    whole, parts = build(), build()
    settings = {
        "stage": 2,
        "optim": "sgd",
        "learning_rate": 0.1,
    }  # AdamW would blow rounding up where gradients vanish
    a = train(whole, per_device_train_batch_size=8, **settings)
    b = train(parts, per_device_train_batch_size=2, gradient_accumulation_steps=4, **settings)
    assert largest_difference(whole, parts) < 1e-5 < largest_difference(whole, build())
    for one, other in zip(a.state.log_history[:-1], b.state.log_history[:-1], strict=True):
        for name in ("loss", "lm_loss", "vq_loss", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_parts_of_the_loss_are_logged(build, train):
    entry = train(build(), stage=1).state.log_history[1]
    assert entry["loss"] == pytest.approx(entry["lm_loss"] + entry["vq_loss"], abs=1e-3)
    assert entry["codes_in_use"] >= 1 and entry["codes_changed"] >= 0 and entry["query_rms"] > 0


def test_label_smoothing_keeps_the_vq_loss(build, train):
    plain = train(build(), stage=1, label_smoothing_factor=0.0, logging_steps=1, max_steps=1).state.log_history[0]
    smooth = train(build(), stage=1, label_smoothing_factor=0.2, logging_steps=1, max_steps=1).state.log_history[0]
    assert smooth["vq_loss"] == plain["vq_loss"]
    assert smooth["lm_loss"] != plain["lm_loss"]
    assert smooth["loss"] == pytest.approx(smooth["lm_loss"] + smooth["vq_loss"], abs=1e-4)


def test_resumed_run_ends_bit_identical(build, train, tmp_path):
    settings = {"stage": 2, "max_steps": 20, "save_strategy": "steps", "save_steps": 7}  # 12 steps an epoch
    whole = build(dropout=0.1)
    train(whole, output_dir=str(tmp_path / "whole"), **settings)
    resumed = build(dropout=0.1)
    train(resumed, str(tmp_path / "whole" / "checkpoint-14"), output_dir=str(tmp_path / "resumed"), **settings)
    assert moved(weights(whole), weights(resumed)) == set()


def test_batches_by_tokens(build, train, tmp_path):
    settings = {
        "stage": 2,
        "per_device_train_tokens": 150,
        "max_steps": 20,
        "save_strategy": "steps",
        "save_steps": 17,
    }
    whole = build(dropout=0.1)
    trainer = train(whole, output_dir=str(tmp_path / "whole"), **settings)
    loader = trainer.get_train_dataloader()
    sizes = [(len(b["labels"]), b["input_ids"].numel() + b["labels"].numel()) for b in loader]
    assert sum(examples for examples, _ in sizes) == 96 and max(tokens for _, tokens in sizes) <= 150
    assert len(sizes) < 17 < trainer.state.max_steps  # so that the checkpoint is of the second epoch
    resumed = build(dropout=0.1)
    train(resumed, str(tmp_path / "whole" / "checkpoint-17"), output_dir=str(tmp_path / "resumed"), **settings)
    assert moved(weights(whole), weights(resumed)) == set()


def test_accumulating_batches_by_tokens_changes_nothing(build, train):
    whole, parts = build(), build()
    settings = {"stage": 2, "optim": "sgd", "learning_rate": 0.1, "logging_steps": 1}
    a = train(whole, per_device_train_tokens=320, **settings)
    b = train(parts, per_device_train_tokens=80, gradient_accumulation_steps=4, **settings)
    assert largest_difference(whole, parts) < 1e-5 < largest_difference(whole, build())
    for one, other in zip(a.state.log_history[:-1], b.state.log_history[:-1], strict=True):
        for name in ("loss", "lm_loss", "vq_loss", "grad_norm", "epoch"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_checkpoints_hold_the_codes_that_the_weights_give(build, train, tmp_path):
    model = build()
    model.add_task("found", [1, 2, 3, 4])
    train(model, stage=1, output_dir=str(tmp_path), save_strategy="steps", save_steps=4)
    for step in (4, 8):
        saved = CTRForConditionalGeneration.from_pretrained(tmp_path / f"checkpoint-{step}")
        codes = json.loads((tmp_path / f"checkpoint-{step}" / "task_codes.json").read_text())
        assert [codes[name] for name in ("same", "next", "fixed")] == saved.task_codes().tolist()
        assert codes["found"] == [1, 2, 3, 4]


def test_best_model_and_early_stopping(build, train, tmp_path):
    trainer = train(
        build(),
        output_dir=str(tmp_path),
        stage=1,
        max_steps=40,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    evaluations = [e["eval_accuracy"] for e in trainer.state.log_history if "eval_accuracy" in e]
    assert trainer.state.global_step < 40
    assert trainer.state.best_metric == max(evaluations)
    assert trainer.evaluate()["eval_accuracy"] == max(evaluations)


def test_generation_in_evaluation(build, train, mixture):
    model = build()
    train(model, stage=2, max_steps=150, learning_rate=0.01, query_learning_rate=0.001)
    trainer = train(model, max_steps=1, learning_rate=0.0, predict_with_generate=True, generation_max_length=5)
    prediction = trainer.predict(mixture)
    generated = [[token for token in row if token > 0] for row in prediction.predictions.tolist()]
    assert sum(g == labels for g, labels in zip(generated, mixture["labels"], strict=True)) > 0.9 * len(mixture)


def test_free_form_examples_are_evaluated_by_loss_alone(build, train, mixture):
    trainer = train(build(), stage=1)
    metrics = trainer.evaluate(mixture.remove_columns(["choice_ids", "answer"]))
    assert "eval_lm_loss" in metrics and "eval_accuracy" not in metrics


def test_collapsed_codebook_is_reported_once(build, train, caplog):
    model = build()
    with torch.no_grad():
        model.task_codebook.task_embedding.weight[:] = model.task_codebook.task_embedding.weight[0].clone()
    train(model, stage=1)
    assert caplog.text.count("The codebook has collapsed") == 1
