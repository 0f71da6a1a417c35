"""Reading on with a decoder-only language model behind keys and values that are there already."""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from modeling_ctr.check_backbone import takes_argument
from modeling_ctr.joined_inputs import get_position_ids

# Keys and values of every layer, `(rows, heads, length, size)` each.
Layers = list[tuple[torch.Tensor, torch.Tensor]]


def read_on(
    language_model: PreTrainedModel,
    embeds: torch.Tensor,
    mask: torch.Tensor,
    cache: DynamicCache,
    logits_to_keep: int,
    position_ids: torch.LongTensor | None = None,
) -> torch.Tensor:
    """Read vectors behind what is in the cache.

    Args:
        language_model: A decoder-only language model.
        embeds: `(rows, length, width)`.
        mask: `(rows, cached + length)`, 0 for padding; or `(rows, 1, length, cached + length)`, as is added to attention.
        cache: What was read before; grows.
        logits_to_keep: Number of last vectors to compute logits for.
        position_ids: `(rows, length)`. Default: counted without padding.

    Returns:
        Logits `(rows, logits_to_keep, vocab_size)`, float32.
    """
    options: dict[str, Any] = {}
    if takes_argument(language_model, "position_ids"):
        counted = get_position_ids(mask)[:, -embeds.shape[1] :] if position_ids is None else position_ids
        options["position_ids"] = counted
    if takes_argument(language_model, "logits_to_keep"):
        options["logits_to_keep"] = logits_to_keep
    outputs = language_model(
        inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, use_cache=True, **options
    )
    return outputs.logits[:, -logits_to_keep:].float()


def make_cache(layers: Layers) -> DynamicCache:
    """Make a cache that holds keys and values as they are; its constructor would copy them."""
    cache = DynamicCache()  # without the config: one that drops what is outside of a window cannot be repeated
    for number, (keys, values) in enumerate(layers):
        cache.update(keys[:, :, :0], values[:, :, :0], number)
        cache.layers[number].keys, cache.layers[number].values = keys, values
    return cache
