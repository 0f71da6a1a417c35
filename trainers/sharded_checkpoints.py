"""Checkpoints of a model whose parameters FSDP2 has spread over the processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import FSDPModule


@contextmanager
def own_class(model: nn.Module) -> Iterator[None]:
    """Give a model, within the block, the class it had before FSDP2: the one that a checkpoint must name and carry."""
    sharded_class = type(model)
    if isinstance(model, FSDPModule):
        model.__class__ = sharded_class.__bases__[1]
    try:
        yield
    finally:
        model.__class__ = sharded_class


def without_tied_copies(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `state_dict` with one name for each tensor: gathering made as many copies of a tied one as it has names."""
    all_names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    first_names = {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in state_dict.items() if name in first_names or name not in all_names}


def load_plain_weights(model: FSDPModule, weight_files: list[Path]) -> None:
    """Load the consolidated weights of a checkpoint into a sharded model; the first process reads them for all.

    accelerate's own copy of the weights (`pytorch_model_fsdp.bin`) holds tied tensors under all their names, and FSDP2
    then fails to load it.
    """
    weights = {}
    if dist.get_rank() == 0:
        for path in weight_files:
            weights |= load_file(path)
    # not strict: a tied tensor is there under one of its names
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(model, weights, options=options)
