"""Gradients through models that count as quantized, with real layers whose product has another gradient or none."""

import pytest
import torch
from torch import nn

from modeling_ctr.check_gradients import check_gradients


class Product(torch.autograd.Function):
    """A linear layer's product, whose backward pass is right, or does as a missing kernel or a wrong one would."""

    @staticmethod
    def forward(ctx, inputs, weight, fault):
        ctx.save_for_backward(weight)
        ctx.fault = fault
        return inputs @ weight.t()

    @staticmethod
    def backward(ctx, gradient):
        right = gradient @ ctx.saved_tensors[0]
        if ctx.fault == "not implemented":
            raise NotImplementedError("derivative for aten::product is not implemented")
        faults = {"none": None, "zero": 0 * right, "twice": 2 * right, "moved": right.roll(1, -1), None: right}
        return faults[ctx.fault], None, None


class FaultyLinear(nn.Linear):
    fault = None

    def forward(self, inputs):
        outputs = Product.apply(inputs, self.weight, self.fault)
        if self.fault == "detached":
            outputs = outputs.detach()
        return outputs if self.bias is None else outputs + self.bias


class PackedLinear(FaultyLinear):
    """As libraries have them: an evaluation packs the weights, and has them multiplied by something without gradient."""

    def forward(self, inputs):
        if not self.training and not inputs.requires_grad:
            self.fault = "none"
        return super().forward(inputs)


@pytest.fixture
def quantize():
    """`quantize(model, fault, layer=FaultyLinear)`: let all but the head multiply so, and the model count as quantized."""

    def change(model, fault=None, layer=FaultyLinear):
        for name, module in model.backbone.named_modules():
            if type(module) is nn.Linear and "lm_head" not in name:
                module.__class__, module.fault = layer, fault
        model.is_quantized = True
        return model

    return change


@pytest.fixture(params=["t5-v1.1", "bart", "llama", "gemma3_text"])
def ctr_model(request, tiny_ctr_model, tiny_causal_model):
    return (tiny_causal_model if request.param in ("llama", "gemma3_text") else tiny_ctr_model)(request.param)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_right_gradients_pass(ctr_model, quantize, dtype, training):
    quantize(ctr_model).backbone.to(dtype)
    check_gradients(ctr_model, training)
    check_gradients(ctr_model.backbone, training)  # not marked itself: not looked at


@pytest.mark.parametrize("fault", ["none", "zero", "detached", "not implemented"])
def test_missing_gradients_are_refused(ctr_model, quantize, fault):
    quantize(ctr_model, fault)
    message = "No gradient comes back through the quantized language model on the device 'cpu'.*another device"
    with pytest.raises(ValueError, match=message):
        check_gradients(ctr_model, training=True)
    ctr_model.is_quantized = False
    check_gradients(ctr_model, training=True)


@pytest.mark.parametrize("fault", ["twice", "moved"])
def test_wrong_gradients_are_refused(ctr_model, quantize, fault):
    quantize(ctr_model, fault)
    with pytest.raises(ValueError, match="A wrong gradient comes back through the quantized language model"):
        check_gradients(ctr_model, training=True)


def test_gradients_that_an_evaluation_takes_away_are_refused(ctr_model, quantize):
    quantize(ctr_model, layer=PackedLinear)
    with pytest.raises(ValueError, match="No gradient"):
        check_gradients(ctr_model, training=True)


def test_a_plain_language_model_is_looked_at_too(ctr_model, quantize):
    language_model = quantize(ctr_model, "zero").backbone
    language_model.is_quantized = True
    with pytest.raises(ValueError, match="No gradient"):
        check_gradients(language_model, training=False)


@pytest.mark.parametrize("fault", [None, "zero"])
def test_everything_is_left_as_it_was(tiny_ctr_model, quantize, fault):
    model = quantize(tiny_ctr_model("t5", text_fields={"dropout_rate": 0.3}), fault)
    model.train()
    model.backbone.decoder.eval()
    parameters = dict(model.named_parameters())
    for number, parameter in enumerate(parameters.values()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.full_like(parameter, number) if number % 2 == 0 else None
    modes = [module.training for module in model.modules()]
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        try:
            check_gradients(model, training=True)
        except ValueError:
            assert fault == "zero"
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in model.modules()] == modes
    for number, (name, parameter) in enumerate(parameters.items()):
        assert torch.equal(parameter, weights[name]) and parameter.requires_grad == (number % 2 == 0)
        assert (parameter.grad is None) if number % 2 else bool((parameter.grad == number).all())
