"""What a training step does not do: hold state for what is frozen, break the graph, wait for the device."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

TRAINERS = Path(__file__).resolve().parents[2] / "trainers"


def test_stage_1_keeps_no_gradient_and_no_state_for_the_frozen_model(build, train):
    trainer = train(build(), stage=1)
    codebook = set(trainer.model.task_codebook.parameters())
    assert set(trainer.optimizer.state) == codebook
    assert all(parameter.grad is None for parameter in trainer.model.backbone.parameters())


def test_stage_1_with_the_language_model_in_half_precision(build, train, tmp_path):
    build().save_pretrained(tmp_path / "model")
    model = type(build()).from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    before = model.backbone.shared.weight.clone()
    codebook = {name: p.detach().clone() for name, p in model.task_codebook.named_parameters()}
    trainer = train(model, stage=1, output_dir=str(tmp_path / "run"), save_strategy="steps", save_steps=8)
    assert torch.equal(model.backbone.shared.weight, before) and before.dtype == torch.bfloat16
    for name, parameter in model.task_codebook.named_parameters():
        assert parameter.dtype == torch.float32 and not torch.equal(parameter, codebook[name])
    assert all(s["exp_avg"].dtype == torch.float32 for s in trainer.optimizer.state.values())


class Reads(TorchDispatchMode, TrainerCallback):
    """Notes after how many steps `trainers/` reads a tensor's value, for which it would have to wait for a device."""

    def __init__(self):
        super().__init__()
        self.state, self.steps = None, []

    def on_train_begin(self, args, state, control, **kwargs):
        self.state = state

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and self.state is not None:
            frame = sys._getframe()
            while (
                Path(torch.__file__).parent in Path(frame.f_code.co_filename).parents
                or frame.f_locals.get("self") is self
            ):
                frame = frame.f_back
            file = Path(frame.f_code.co_filename)
            if file.parent == TRAINERS and file.name != "sampler.py":  # whose tensors are the CPU's
                self.steps.append(self.state.global_step)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("stage", [1, 2])
def test_values_are_read_when_logging_only(build, train, stage):
    with Reads() as reads:
        train(build(), stage=stage, logging_steps=8, gradient_accumulation_steps=2, callbacks=[reads])
    assert set(reads.steps) == {8}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # the new name is not in 5.17
@pytest.mark.parametrize("stage", [1, 2])
def test_activation_checkpointing_changes_nothing(build, train, stage, assert_close_in_norm):
    plain, checkpointed = build(), build()
    train(plain, stage=stage)
    train(checkpointed, stage=stage, gradient_checkpointing=True)
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert_close_in_norm(b, a, 2e-5, name)


@pytest.mark.slow
def test_the_forward_pass_is_one_graph(build):
    model = build()
    batch = {
        "input_ids": torch.tensor([[5, 6, 1], [7, 1, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([[8, 1], [1, -100]]),
        "task_id": torch.tensor([2, 0]),
    }
    expected = model(**batch)
    compiled = torch.compile(model, fullgraph=True, backend="eager")(**batch)
    assert torch.allclose(compiled.loss, expected.loss)
    compiled.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_compiled_training_is_the_same_training(build, train):
    plain, compiled = build(), build()
    train(plain, stage=1)
    trainer = train(compiled, stage=1, torch_compile=True, torch_compile_backend="eager")
    for (name, a), b in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name
    assert "vq_loss" in trainer.state.log_history[0]
