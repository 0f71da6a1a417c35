"""Training a codebook on a language model whose weights are quantized."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from torch import nn

from modeling_ctr import CTRPreTrainedModel

CODEBOOK = "task_codebook."


def is_quantized(model: nn.Module | None) -> bool:
    """Tell whether a CTR model, without an adapter of peft's, has a quantized language model."""
    return (
        isinstance(model, CTRPreTrainedModel)
        and getattr(model, "is_quantized", False)
        and not model._hf_peft_config_loaded
    )


@contextmanager
def codebook_as_adapter(model: nn.Module | None, stage: int) -> Iterator[None]:
    """Let a Trainer be made for a quantized model of which stage 1 trains the codebook alone.

    transformers refuses quantized models that have no adapter of peft's. The codebook is one, of our own; its weights
    are plain numbers. Stage 2, which would train the quantized weights, is left to transformers to refuse.
    """
    if stage != 1 or not is_quantized(model):
        yield
        return
    model.is_quantized = False  # what transformers looks at
    try:
        yield
    finally:
        model.is_quantized = True


def load_codebook(model: CTRPreTrainedModel, checkpoint: str | os.PathLike) -> None:
    """Load a checkpoint's codebook alone: stage 1 left the rest as it was, and not every library loads quantized weights
    into a model that has some."""
    tensors = {}
    for path in sorted(Path(checkpoint).glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(CODEBOOK)]  # noqa: SIM118
            tensors |= {name.removeprefix(CODEBOOK): file.get_tensor(name) for name in names}
    model.task_codebook.load_state_dict(tensors)
