"""What a decoder-only model is trained on: each text and its answer in one sequence."""

from typing import Any

import torch
from transformers import PreTrainedModel

from modeling_ctr import CTRForCausalLM
from modeling_ctr.check_backbone import takes_argument
from modeling_ctr.joined_inputs import append_answers, get_position_ids, move_padding_to_front


def prepare_causal_inputs(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Make a decoder-only model's arguments of a batch whose texts and answers stand apart, as the collator makes them.

    Args:
        model: A [`CTRForCausalLM`], or a plain decoder-only language model.
        batch: `input_ids` and `attention_mask` `(batch, source_length)`, and `labels` `(batch, target_length)`.

    Returns:
        `input_ids`, `attention_mask` and `labels`, `(batch, source_length + target_length)`, and what the model needs
        besides: positions that padding does not count for, or that logits are wanted for the answers alone.
    """
    joined: dict[str, Any] = append_answers(batch["input_ids"], batch.get("attention_mask"), batch["labels"])
    if isinstance(model, CTRForCausalLM):
        joined["logits_to_keep"] = batch["labels"].shape[1] + 1
    elif takes_argument(model, "position_ids"):
        joined["position_ids"] = get_position_ids(joined["attention_mask"])
    return joined


def put_padding_in_front(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put the padding of texts, `input_ids` and `attention_mask` `(batch, source_length)`, where generation needs it."""
    order = move_padding_to_front(batch["attention_mask"])
    return {name: batch[name].gather(1, order) for name in ("input_ids", "attention_mask")}
