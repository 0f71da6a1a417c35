"""Prompt vectors among the tokens of a decoder-only language model: where they stand, and what follows from that.

Shapes use B for the batch, N for the prompt's length, L for the text's and d for the language model's width. Texts may be
padded on either side.
"""

from typing import NamedTuple

import torch


class JoinedInputs(NamedTuple):
    """Prompt and text as one sequence.

    Attributes:
        inputs_embeds (`torch.FloatTensor` of shape `(B, N + L, d)`): Vectors of both.
        attention_mask (`torch.LongTensor` of shape `(B, N + L)`): Zero for padding.
        position_ids (`torch.LongTensor` of shape `(B, N + L)`): Counted without padding.
        before_next (`torch.LongTensor` of shape `(B, L)`):
            For each token of the text, the place in the joined sequence whose output predicts the text's next token:
            the token's own, but the last prompt vector's where the prompt stands between the two.
        place (`torch.LongTensor` of shape `(B, 1)`): Where the prompt starts.
    """

    inputs_embeds: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    before_next: torch.Tensor
    place: torch.Tensor


def get_prompt_place(
    code_position: str,
    attention_mask: torch.Tensor,
    input_ids: torch.Tensor | None,
    bos_token_id: int | None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Find where a prompt starts, `(B, 1)`, by the config's `code_position`: "prefix" or "suffix"."""
    if code_position == "suffix":
        return get_suffix_place(attention_mask, labels)
    return get_prefix_place(attention_mask, input_ids, bos_token_id)


def get_prefix_place(
    attention_mask: torch.Tensor, input_ids: torch.Tensor | None, bos_token_id: int | None
) -> torch.Tensor:
    """Find where a prompt in front of each text starts, `(B, 1)`: behind the padding, and behind a bos token.

    Language models with a bos token have seen nothing but it at the first position.
    """
    place = (attention_mask.cumsum(1) == 0).sum(1, keepdim=True)
    if input_ids is None or bos_token_id is None or input_ids.shape[1] == 0:
        return place
    last = input_ids.shape[1] - 1
    return place + ((input_ids.gather(1, place.clamp(max=last)) == bos_token_id) & (place <= last))


def get_suffix_place(attention_mask: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Find where a prompt behind each text starts, `(B, 1)`: at the first label, or where there is none at the end."""
    length = attention_mask.shape[1]
    end = length - (attention_mask.flip(1).cumsum(1) == 0).sum(1, keepdim=True)
    if labels is None:
        return end
    is_label = (labels != -100).long()
    return torch.where(is_label.any(1, keepdim=True), is_label.argmax(1, keepdim=True), end)


def join_inputs(
    prompt_embeds: torch.Tensor, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor, place: torch.Tensor
) -> JoinedInputs:
    """Put prompt vectors `(B, N, d)` among the vectors of a text `(B, L, d)`, in front of its token at `place` `(B, 1)`."""
    prompt_length, length = prompt_embeds.shape[1], inputs_embeds.shape[1]
    steps = torch.arange(prompt_length + length, device=place.device)
    # Of prompt and text one after the other: where each vector of the joined sequence stands there.
    source = torch.where(
        steps < place, steps + prompt_length, torch.where(steps < place + prompt_length, steps - place, steps)
    )
    embeds = torch.cat([prompt_embeds, inputs_embeds], 1)
    mask = torch.cat([attention_mask.new_ones(prompt_embeds.shape[:2]), attention_mask], 1).gather(1, source)
    tokens = torch.arange(length, device=place.device)
    return JoinedInputs(
        embeds.gather(1, source[..., None].expand_as(embeds)),
        mask,
        get_position_ids(mask),
        torch.where(tokens + 1 < place, tokens, tokens + prompt_length),
        place,
    )


def get_position_ids(attention_mask: torch.Tensor) -> torch.Tensor:
    """Count positions `(B, length)` without padding, as every family with learned positions needs them."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def cover_prompt(attention_mask: torch.Tensor, missing: int) -> torch.Tensor:
    """Lengthen the mask of a text `(B, L)` by the prompt's `missing` columns, which stand behind leading padding.

    Where exactly among the text they stand makes no difference: they are ones among ones.
    """
    length = attention_mask.shape[1]
    start = (attention_mask.cumsum(1) == 0).sum(1, keepdim=True)
    steps = torch.arange(length + missing, device=attention_mask.device)
    text = attention_mask.gather(1, torch.where(steps < start, steps, steps - missing).clamp(min=0, max=length - 1))
    return torch.where((steps >= start) & (steps < start + missing), torch.ones_like(text), text)


def append_answers(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, answers: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Make one sequence of each text and its answer, as decoder-only language models are trained on.

    Args:
        input_ids: `(B, L)`, the texts, padded on either side.
        attention_mask: `(B, L)`; all ones if None.
        answers: `(B, T)`, filled with -100 at the end.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each `(B, L + T)`: the texts' padding stands in front, so that the
        logits of the answers are those of the last T + 1 places, but for the very last.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    order = move_padding_to_front(mask)
    is_answer = (answers != -100).to(mask.dtype)
    return {
        "input_ids": torch.cat([input_ids.gather(1, order), answers.clamp(min=0)], 1),
        "attention_mask": torch.cat([mask.gather(1, order), is_answer], 1),
        "labels": torch.cat([torch.full_like(input_ids, -100), answers], 1),
    }


def move_padding_to_front(attention_mask: torch.Tensor) -> torch.Tensor:
    """Find the indices `(B, L)` that move each row's trailing padding in front of its text, for generation."""
    length = attention_mask.shape[1]
    trailing = (attention_mask.flip(1).cumsum(1) == 0).sum(1, keepdim=True)
    positions = torch.arange(length, device=attention_mask.device) - trailing
    return torch.where(positions < 0, positions + length, positions)
