"""Runs that go wrong are stopped."""

import pytest
import torch
from transformers import TrainerCallback


def broken(build):
    model = build()
    with torch.no_grad():
        model.task_codebook.prompt_decoder.weight[0, 0] = float("nan")
    return model


def test_loss_that_is_not_finite_stops_training_before_saving(build, train, tmp_path):
    settings = {"output_dir": str(tmp_path), "stage": 1, "save_strategy": "steps", "save_steps": 2}
    with pytest.raises(FloatingPointError, match=r"Step 1: lm_loss is nan.*of the tasks .*same.*`learning_rate`"):
        train(broken(build), logging_steps=5, **settings)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_runaway_vq_loss_stops_training(build, train):
    with pytest.raises(FloatingPointError, match=r"vq_loss is 1.*`max_vq_loss` is 5\).*`query_learning_rate`"):
        train(build(), stage=1, max_vq_loss=5)


def test_bad_losses_can_be_warned_of_only(build, train, caplog):
    trainer = train(build(), stage=1, max_vq_loss=5, bad_loss_action="warn")
    assert trainer.state.global_step == 8
    assert caplog.text.count("`max_vq_loss` is 5") == 4  # once a log


class NanInStep3(TrainerCallback):
    """A weight is NaN while the third step is computed; `left_alone` says whether that step changed any other."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 2:
            self.before = {name: p.detach().clone() for name, p in model.named_parameters()}
            model.task_codebook.prompt_decoder.weight.data[0, 0] = float("nan")

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 2:
            value = self.before["task_codebook.prompt_decoder.weight"][0, 0]
            model.task_codebook.prompt_decoder.weight.data[0, 0] = value
            self.left_alone = all(torch.equal(p, self.before[name]) for name, p in model.named_parameters())


def test_steps_with_bad_losses_can_be_skipped(build, train, caplog):
    spoil = NanInStep3()
    settings = {"stage": 2, "learning_rate": 0.01, "bad_loss_action": "skip", "gradient_accumulation_steps": 2}
    trainer = train(build(), callbacks=[spoil], per_device_train_batch_size=4, **settings)
    assert spoil.left_alone
    assert caplog.text.count("Step 3: lm_loss is nan") == caplog.text.count("such steps are left out") == 1
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 8 and losses[3] < losses[2] < losses[0]  # the mean of the second is not one
