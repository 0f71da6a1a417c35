"""Digests of a model and of examples: what an earlier run kept is taken up again with both unchanged only."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn


def model_fingerprint(model: nn.Module) -> str:
    """A digest of the model's weights (of an even sample of large ones), the same on every device."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.detach().flatten()
        sample = values[:: max(1, values.numel() // 4096)].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:32]


def examples_fingerprint(rows: Iterable[Mapping[str, Any]]) -> str:
    """A digest of rows of plain JSON values."""
    return compute_digest(list(rows))


def compute_digest(value: Any) -> str:
    """A digest of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
