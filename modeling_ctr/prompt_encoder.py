"""Prompt vectors in front of what the language model's encoder reads."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .check_inputs import check_length, check_shapes, check_token_ids, get_batch_size
from .codebook import TaskPrompt


class CTREncoder(nn.Module):
    """The language model's encoder with a task's prompt vectors in front of its word embeddings.

    Made anew by `CTRForConditionalGeneration.get_encoder()`; holds no weights of its own.

    Args:
        encoder: The language model's.
        task_prompt: Finds the prompt vectors of tasks, as `CTRForConditionalGeneration.task_prompt` does. Without it
            only `prompt_embeds` are taken, as they are.
    """

    def __init__(self, encoder: PreTrainedModel, task_prompt: Callable[..., TaskPrompt] | None):
        super().__init__()
        self.encoder = encoder
        self.task_prompt = task_prompt

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        task_id: torch.LongTensor | None = None,
        task_code: torch.LongTensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        task: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode `(batch, sequence_length)` inputs behind a task given by id, by code, as prompt vectors or by name.

        `prompt_embeds` are `(batch, prompt_length, width)`, or `(prompt_length, width)` for the whole batch.
        The hidden states are `(batch, prompt_length + sequence_length, width)`.

        Raises:
            ValueError: There is no input; the mask is not of its shape; the task is not given in one of these ways; a
                token id on the CPU is not in the vocabulary; prompt and input together are longer than the language
                model has positions for (BART).
        """
        if self.task_prompt is not None:
            batch_size = get_batch_size(input_ids, inputs_embeds)
            prompt_embeds = self.task_prompt(batch_size, task_id, task_code, prompt_embeds, task).prompt_vectors
        shape = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]
        check_shapes(shape, attention_mask=attention_mask)
        if inputs_embeds is None:
            if attention_mask is not None:
                input_ids = input_ids.gather(1, leading_padding_to_end(attention_mask))
            embeddings = self.encoder.get_input_embeddings()
            check_token_ids(input_ids, embeddings.weight.shape[0], "`input_ids`")
            # Pegasus scales word vectors outside of its embedding layer, and leaves `inputs_embeds` as they are.
            inputs_embeds = embeddings(input_ids) * getattr(self.encoder, "embed_scale", 1.0)
        elif attention_mask is not None:
            order = leading_padding_to_end(attention_mask)
            inputs_embeds = inputs_embeds.gather(1, order[..., None].expand_as(inputs_embeds))
        check_length(self.encoder.config, prompt_embeds.shape[1], shape[1])
        prompt_embeds = prompt_embeds.to(inputs_embeds.device, inputs_embeds.dtype)
        if attention_mask is not None:
            attention_mask = prompt_attention_mask(attention_mask, prompt_embeds.shape[1])
        return self.encoder(
            inputs_embeds=torch.cat([prompt_embeds, inputs_embeds], dim=1), attention_mask=attention_mask, **kwargs
        )


def leading_padding_to_end(attention_mask: torch.Tensor) -> torch.Tensor:
    """Find the indices `(batch, sequence_length)` that move each row's leading padding behind its text.

    The prompt belongs right in front of the text: with padding between them relative positions would differ, and a
    left-padded batch would give other results than a right-padded one.
    """
    length = attention_mask.shape[1]
    leading = (attention_mask.cumsum(1) == 0).sum(1, keepdim=True)
    positions = torch.arange(length, device=attention_mask.device) + leading
    # Not by a remainder: that cannot be exported with a length that is a symbol.
    return torch.where(positions < length, positions, positions - length)


def prompt_attention_mask(attention_mask: torch.Tensor, prompt_length: int) -> torch.Tensor:
    """Lengthen a mask by the prompt's columns: `(batch, sequence_length)` -> `(batch, prompt_length + sequence_length)`."""
    attention_mask = attention_mask.gather(1, leading_padding_to_end(attention_mask))
    return torch.cat([attention_mask.new_ones(attention_mask.shape[0], prompt_length), attention_mask], dim=1)
