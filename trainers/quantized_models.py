"""Training a codebook on a language model whose weights are quantized."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from modeling_ctr import CTRPreTrainedModel


@contextmanager
def codebook_as_adapter(model: nn.Module | None, stage: int) -> Iterator[None]:
    """Let a Trainer be made for a quantized model of which stage 1 trains the codebook alone.

    transformers refuses quantized models that have no adapter of peft's. The codebook is one, of our own; its weights
    are plain numbers. Stage 2, which would train the quantized weights, is left to transformers to refuse.
    """
    if stage != 1 or not isinstance(model, CTRPreTrainedModel) or not getattr(model, "is_quantized", False):
        yield
        return
    model.is_quantized = False  # what transformers looks at
    try:
        yield
    finally:
        model.is_quantized = True
