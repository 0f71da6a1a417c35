"""What mode a model is in, for a while."""

import contextlib
from collections.abc import Iterator

import torch


def autocast_around(device: torch.device) -> torch.dtype | None:
    """Get the dtype of the `torch.autocast` that one is in, if any."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into `eval()` for a while; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


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
