"""What mode a model is in, for a while."""

import contextlib
from collections.abc import Iterator

import torch


def autocast_around(device: torch.device) -> torch.dtype | None:
    """Get the dtype of the `torch.autocast` that one is in, if any."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


@contextlib.contextmanager
def keeping_modes(model: torch.nn.Module) -> Iterator[None]:
    """Put every module back into the mode it was in, `train()` or `eval()`, afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        model.train(modes[0][1])  # by a call first: there are layers that do more than note it
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into `eval()` for a while; afterwards every module is in the mode it was in."""
    with keeping_modes(model):
        model.eval()
        yield


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Do without gradients for the weights for a while: a backward pass then keeps and computes less."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
