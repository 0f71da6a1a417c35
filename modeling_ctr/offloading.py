"""A codebook that `device_map` sent away from the memory where it is needed."""

import torch
from transformers.utils import is_accelerate_available

from .codebook import TaskCodebook

if is_accelerate_available():  # transformers uses a `device_map` only where it is
    from accelerate.hooks import remove_hook_from_module


def bring_back(codebook: TaskCodebook) -> None:
    """Put a codebook that accelerate offloaded, or spread over devices, on the CPU as a whole.

    Its weights are read together, while accelerate's hooks fetch those of a module for calls of that module alone.
    """
    devices = {parameter.device for parameter in codebook.parameters()}
    hooked = hasattr(codebook.code_vectors, "_hf_hook")
    if not hooked or (len(devices) == 1 and torch.device("meta") not in devices):
        return
    weights = {
        f"{path}.{name}": (part._hf_hook.weights_map[name] if weight.is_meta else weight).to("cpu", weight.dtype)
        for path, part in codebook.named_modules()
        for name, weight in part.named_parameters(recurse=False)
    }
    remove_hook_from_module(codebook, recurse=True)
    codebook.load_state_dict(weights, assign=True)
