"""Digests of a model and of examples: what an earlier run kept is taken up again with both unchanged only."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

# Words of 8 bytes that one sum is over, and sums that are computed at a time.
WORDS, SUMS_AT_ONCE = 1 << 16, 32


def model_fingerprint(model: nn.Module) -> str:
    """Compute a digest of all of the model's weights, the same on every device."""
    digest = hashlib.sha256()
    factors: dict[torch.device, torch.Tensor] = {}
    for name, parameter in sorted(model.named_parameters()):
        if parameter.device not in factors:
            factors[parameter.device] = _make_factors().to(parameter.device)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(_compute_sums(parameter.detach(), factors[parameter.device]).cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def examples_fingerprint(rows: Iterable[Mapping[str, Any]]) -> str:
    """Compute a digest of rows of plain JSON values."""
    return compute_digest(list(rows))


def compute_digest(value: Any) -> str:
    """Compute a digest of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _compute_sums(tensor: torch.Tensor, factors: torch.LongTensor) -> torch.LongTensor:
    """A number for each `WORDS` words of a tensor's memory, computed where the tensor is.

    It is the sum of the words (as integers modulo 2^64, in which no order of adding matters) times odd factors: no change
    of a single word leaves it as it was, and one of several does by chance alone. A cryptographic digest would take four
    times as long on a CPU, and on an accelerator all of the weights would have to leave it.
    """
    memory = tensor.contiguous().reshape(-1).view(torch.uint8)
    missing = -len(memory) % 8
    words = (torch.nn.functional.pad(memory, (0, missing)) if missing else memory).view(torch.long)
    sums = []
    for part in words.split(WORDS * SUMS_AT_ONCE):
        whole = len(part) // WORDS * WORDS
        sums.append((part[:whole].view(-1, WORDS) * factors).sum(1))
        sums.append((part[whole:] * factors[: len(part) - whole]).sum().view(1))
    return torch.cat(sums) if sums else words


def _make_factors() -> torch.LongTensor:
    """`(WORDS,)` odd numbers without a pattern."""
    mixed = torch.arange(1, WORDS + 1) * -7046029254386353131  # 2^64 divided by the golden ratio, as a signed number
    return (mixed ^ (mixed >> 29)) * -4658895280553007687 | 1
