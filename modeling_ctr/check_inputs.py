"""Whether a batch is one that a language model and its prompt vectors can be given."""

from typing import Any

import torch
from transformers import PreTrainedConfig


def get_batch_size(*inputs: torch.Tensor | None) -> int:
    """Get the number of rows of the first of several inputs that is given. Raises a ValueError where none is."""
    for given in inputs:
        if given is not None:
            return given.shape[0]
    raise ValueError("The text to answer is missing: give `input_ids` or `inputs_embeds`.")


def check_shapes(shape: torch.Size, **tensors: torch.Tensor | None) -> None:
    """Raise a ValueError, naming the tensor, unless all that are given have the text's shape `(batch, length)`."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"`{name}` has shape {tuple(tensor.shape)}, but an input of shape {tuple(shape)} needs the same: one "
                "number for each token, and none for the prompt."
            )


def check_token_ids(ids: torch.Tensor, vocab_size: int, what: str) -> None:
    """Raise a ValueError for ids on the CPU outside `[0, vocab_size)`; never waits for an accelerator."""
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return
    least, greatest = (int(value) for value in ids.aminmax())
    if least < 0 or greatest >= vocab_size:
        raise ValueError(
            f"{what} has the token id {least if least < 0 else greatest}, but the model's vocabulary goes from 0 to "
            f"{vocab_size - 1}: use the tokenizer that the model was trained with."
        )


def check_length(config: PreTrainedConfig | Any, prompt_length: int, length: int) -> None:
    """Raise a ValueError where a language model with learned positions has too few; rotary ones go on."""
    limit = getattr(config, "max_position_embeddings", None)  # T5 has none
    if limit is None or hasattr(config, "rope_parameters") or prompt_length + length <= limit:
        return
    raise ValueError(
        f"The prompt ({prompt_length}) and the input ({length} tokens) are together longer than the {limit} positions of "
        f"the language model; cut inputs to {limit - prompt_length} tokens."
    )
