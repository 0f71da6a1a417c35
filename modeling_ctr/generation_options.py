"""Options of `generate`, before it is handed on to the wrapped language model."""

import copy
from typing import Any

import torch
from transformers import GenerationConfig


def merge_generation_config(
    default: GenerationConfig, given: GenerationConfig | None, kwargs: dict[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """Merge what a call gives with the model's own config, in transformers' order: arguments, config, model.

    Returns:
        A new config, and the arguments that are none of its fields.
    """
    config = copy.deepcopy(default if given is None else given)
    for name, value in default.to_dict().items():
        if getattr(config, name, None) is None:
            setattr(config, name, value)
    return config, config.update(**kwargs)


def take_text(
    inputs: torch.Tensor | None, kwargs: dict[str, Any], config: GenerationConfig, device: torch.device
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Take the text out of `generate`'s arguments: its ids or embeddings, and its mask, told by padding if not given.

    Without a text there is the bos token, where the model has one, as transformers has it.
    """
    input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
    inputs_embeds, mask = kwargs.pop("inputs_embeds", None), kwargs.pop("attention_mask", None)
    if input_ids is None and inputs_embeds is None and config.bos_token_id is not None:
        input_ids = torch.tensor([[config.bos_token_id]], device=device)
    if mask is None and input_ids is not None:
        mask = infer_mask(input_ids, config)
    return input_ids, inputs_embeds, mask


def infer_mask(input_ids: torch.Tensor, config: GenerationConfig) -> torch.Tensor:
    """Tell padding `(B, L)` from text by its token, as transformers does: not where that may be an end as well."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if config.pad_token_id is None or config.pad_token_id in ends:
        return torch.ones_like(input_ids)
    return (input_ids != config.pad_token_id).long()


def count_new_tokens(config: GenerationConfig, length: int) -> None:
    """Translate `max_length` and `min_length`, which count a text of `length` tokens, into numbers of new tokens.

    transformers would compare them with the length of prompt and text.

    Raises:
        ValueError: `max_length` leaves no room for a new token.
    """
    if config.max_new_tokens is None and config.max_length is not None:
        if config.max_length <= length:
            raise ValueError(
                f"`max_length` is {config.max_length}, but the texts have {length} tokens already: raise it, or give "
                "`max_new_tokens`."
            )
        config.max_new_tokens = config.max_length - length
    if config.min_new_tokens is None and config.min_length:
        config.min_new_tokens = max(config.min_length - length, 0)
    config.max_length = config.min_length = None
