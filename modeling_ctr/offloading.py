"""A codebook that `device_map` sent away from the memory where it is needed."""

import torch
from transformers.utils import is_accelerate_available

from .codebook import TaskCodebook

if is_accelerate_available():  # transformers uses a `device_map` only where it is
    from accelerate.hooks import remove_hook_from_module


def bring_back(codebook: TaskCodebook, is_new: bool) -> bool:
    """Put a codebook that accelerate offloaded, or spread over devices, on the CPU as a whole.

    Its weights are read together, while accelerate's hooks fetch those of a module for calls of that module alone.

    Args:
        codebook: Codebook of a model that was just loaded.
        is_new: Whether the checkpoint had none: what was offloaded of it is then nowhere, and comes back without values.

    Returns:
        Whether it had to be brought back.
    """
    devices = {parameter.device for parameter in codebook.parameters()}
    hooked = hasattr(codebook.code_vectors, "_hf_hook")
    if not hooked or (len(devices) == 1 and torch.device("meta") not in devices):
        return False
    weights = {}
    for path, part in codebook.named_modules():
        for name, weight in part.named_parameters(recurse=False):
            if weight.is_meta:
                value = torch.empty_like(weight, device="cpu") if is_new else part._hf_hook.weights_map[name]
            else:
                value = weight
            weights[f"{path}.{name}"] = value.to("cpu", weight.dtype)
    codebook.load_state_dict(weights, assign=True)  # first: what takes a hook off puts weights back where they were
    remove_hook_from_module(codebook, recurse=True)
    return True
