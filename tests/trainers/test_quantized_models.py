"""Stage 1 on a language model that counts as quantized, with real layers."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn


class Rounded(torch.autograd.Function):
    """A product with weights of 8 bits, of which some kernels have no gradient."""

    @staticmethod
    def forward(ctx, inputs, weight, scale, differentiable):
        ctx.save_for_backward(weight, scale)
        ctx.differentiable = differentiable
        return inputs @ (weight * scale).t()

    @staticmethod
    def backward(ctx, gradient):
        weight, scale = ctx.saved_tensors
        return (gradient @ (weight * scale) if ctx.differentiable else None), None, None, None


class RoundedLinear(nn.Module):
    def __init__(self, linear: nn.Linear, differentiable: bool):
        super().__init__()
        self.differentiable = differentiable
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.weight = nn.Parameter((linear.weight.detach() / scale).round().to(torch.int8), requires_grad=False)

    def forward(self, inputs):
        return Rounded.apply(inputs, self.weight, self.scale, self.differentiable)

    def _load_from_state_dict(self, *args):
        raise RuntimeError("Loading a quantized checkpoint is not supported here.")  # as bitsandbytes' int8 on a CPU


@pytest.fixture(params=["t5", "llama"])
def quantized(request, build, tiny_causal_model):
    """`quantized(differentiable)`: a model with a language model of 8 bits."""

    def make(differentiable: bool):
        model = build(dropout=0.1) if request.param == "t5" else tiny_causal_model("llama", code_position="suffix")
        for module in list(model.backbone.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear and name != "lm_head" and child.bias is None:
                    setattr(module, name, RoundedLinear(child, differentiable))
        model.is_quantized = True
        return model

    return make


def test_stage_1_trains_the_codebook(quantized, train):
    model = quantized(True)
    codebook = {name: tensor.clone() for name, tensor in model.task_codebook.state_dict().items()}
    history = train(model, max_steps=8, learning_rate=3e-2).state.log_history
    assert history[3]["lm_loss"] < history[0]["lm_loss"]
    assert not any(torch.equal(tensor, codebook[name]) for name, tensor in model.task_codebook.state_dict().items())
    assert model.is_quantized


def test_the_check_changes_nothing_of_a_training(quantized, train):
    checked, other = quantized(True), quantized(True)
    other.is_quantized = False
    for one, two in zip(train(checked).state.log_history[:4], train(other).state.log_history[:4], strict=True):
        assert (one["loss"], one["grad_norm"]) == (two["loss"], two["grad_norm"])


def test_a_language_model_without_gradients_is_refused(quantized, train):
    model = quantized(False)
    codebook = {name: tensor.clone() for name, tensor in model.task_codebook.state_dict().items()}
    with pytest.raises(
        ValueError, match="No gradient comes back through the quantized language model on the device 'cpu'"
    ):
        train(model)
    assert all(torch.equal(tensor, codebook[name]) for name, tensor in model.task_codebook.state_dict().items())


def test_a_training_goes_on(quantized, train, tmp_path):
    folder = tmp_path / "stopped"
    common = {"output_dir": str(folder), "max_steps": 4, "logging_steps": 1, "save_steps": 2, "save_strategy": "steps"}
    whole = quantized(True)
    losses = [logs["loss"] for logs in train(whole, **common).state.log_history if "loss" in logs]
    shutil.rmtree(folder / "checkpoint-4")
    rest = quantized(True)
    history = train(rest, resume_from_checkpoint=True, **common).state.log_history
    assert [logs["loss"] for logs in history if "loss" in logs] == losses
    for name, tensor in whole.task_codebook.state_dict().items():
        assert torch.equal(rest.task_codebook.state_dict()[name], tensor), name


def test_the_best_checkpoint_is_loaded(quantized, train):
    common = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    model = quantized(True)
    trainer = train(model, load_best_model_at_end=True, metric_for_best_model="loss", learning_rate=3.0, **common)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")
    saved = load_file(f"{trainer.state.best_model_checkpoint}/model.safetensors")
    for name, tensor in model.task_codebook.state_dict().items():
        assert torch.equal(saved[f"task_codebook.{name}"], tensor), name


def test_stage_2_would_train_quantized_weights(quantized, train):
    with pytest.raises(ValueError, match="cannot perform fine-tuning on purely quantized models"):
        train(quantized(True), stage=2)
