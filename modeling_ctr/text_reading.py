"""Reading a text in front of a suffix apart from it: where the language model is frozen, no gradient goes through the text."""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from .joined_inputs import JoinedInputs


def can_read_apart(language_model: PreTrainedModel, joined: JoinedInputs, options: dict[str, Any], start: int) -> bool:
    """Tell whether what stands in front of `start` can be read without gradients, and nobody asks what became of it.

    Args:
        language_model: A decoder-only language model.
        joined: Texts with their prompts.
        options: Further arguments of the language model's.
        start: Number of places that no prompt vector stands in, and that no logits are asked of.
    """
    asks_for_more = any(options.get(name) for name in ("use_cache", "output_hidden_states", "output_attentions"))
    return (  # what takes a walk through the model is asked last: this is asked at every forward pass
        start > 0
        and torch.is_grad_enabled()
        and joined.inputs_embeds.requires_grad
        and options.get("past_key_values") is None
        and not asks_for_more
        and not any(parameter.requires_grad for parameter in language_model.parameters())
        # Activation checkpointing drops caches.
        and not any(getattr(module, "gradient_checkpointing", False) for module in language_model.modules())
    )


def read_apart(language_model: PreTrainedModel, joined: JoinedInputs, options: dict[str, Any], start: int) -> Any:
    """Read the texts up to `start` without gradients, then the prompts and what is behind them.

    Args:
        language_model: A decoder-only language model.
        joined: Texts with their prompts.
        options: Further arguments of the language model's; `position_ids` `(B, N + L)`, where it takes them.
        start: As above.

    Returns:
        The language model's output for the places from `start` on; the cache is left out.
    """
    positions = options.get("position_ids")
    parts = (
        [{}, {}]
        if positions is None
        else [{"position_ids": positions[:, :start]}, {"position_ids": positions[:, start:]}]
    )
    cache = DynamicCache()  # without the config: it keeps what is outside of a window, which the mask leaves out
    common = options | {"past_key_values": cache, "use_cache": True, "return_dict": True}
    with torch.no_grad():
        once = common | ({"logits_to_keep": 1} if "logits_to_keep" in options else {})
        language_model(
            inputs_embeds=joined.inputs_embeds[:, :start],
            attention_mask=joined.attention_mask[:, :start],
            **once | parts[0],
        )
    outputs = language_model(
        inputs_embeds=joined.inputs_embeds[:, start:], attention_mask=joined.attention_mask, **common | parts[1]
    )
    outputs.past_key_values = None
    return outputs
