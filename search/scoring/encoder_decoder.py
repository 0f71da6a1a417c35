"""What scoring knows of encoder-decoder language models; nothing else in `search` tells them from other kinds."""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from modeling_ctr import CTREncoder
from modeling_ctr.answer_likelihoods import compute_answer_log_likelihoods
from modeling_ctr.configuration_ctr import SUPPORTED_BACKBONES

from .examples import ScoredExamples
from .targets import Targets


class EncoderDecoderReader:
    """Reads examples behind prompt vectors, scores their targets and writes answers.

    Every pair of a prompt and an example is encoded once, whatever the number of its targets; the decoder's
    cross-attention keys and values are computed once per pair as well.

    Args:
        language_model: The language model.
        examples: What it reads.
    """

    def __init__(self, language_model: PreTrainedModel, examples: ScoredExamples):
        self.language_model, self.examples = language_model, examples

    def check_prompt_length(self, length: int) -> None:
        """Raise a ValueError where prompt vectors cannot be put in front of this language model's inputs."""
        kind = self.language_model.config.model_type
        if length and kind not in SUPPORTED_BACKBONES:
            raise ValueError(
                f"Prompt vectors cannot be put in front of the input of a '{kind}' model; supported are "
                f"{', '.join(SUPPORTED_BACKBONES)}."
            )

    def get_lengths(self, prompt_length: int) -> torch.LongTensor:
        """Count the tokens that a pair takes of a batch's budget, `(num_examples,)`."""
        return self.examples.lengths + prompt_length

    def score(
        self,
        prompts: torch.Tensor,
        prompt_ids: torch.LongTensor,
        example_ids: torch.LongTensor,
        targets: Targets,
        token_budget: int,
    ) -> tuple[torch.LongTensor, torch.LongTensor, torch.DoubleTensor]:
        """Score each distinct target of each pair.

        Args:
            prompts: `(num_prompts, prompt_length, width)`.
            prompt_ids, example_ids: `(pairs,)`: the pairs, on the CPU.
            targets: What the examples ask for.
            token_budget: Tokens of a batch.

        Returns:
            `(rows,)` each: number of the pair, slot of the target, log-likelihood.
        """
        hidden, mask = self.encode(prompts, prompt_ids, example_ids)
        pair, slot, target = targets.get_rows(example_ids)
        values = compute_answer_log_likelihoods(
            self.language_model, hidden, mask, targets.tokens, targets.lengths, pair, target, token_budget
        )
        return pair, slot, values

    def generate(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor, **kwargs: Any
    ) -> list[list[int]]:
        """Write an answer for each pair: token ids without the start token; arguments as in `score`, and `generate`'s."""
        hidden, mask = self.encode(prompts, prompt_ids, example_ids)
        if mask is None:
            mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        ids = self.language_model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden), attention_mask=mask, **kwargs
        )
        return ids[:, 1:].tolist()

    def encode(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute encoder states `(pairs, prompt + text, width)`, and their mask where the texts' lengths differ."""
        device = self.examples.inputs.device
        lengths = self.examples.lengths[example_ids]
        longest = int(lengths.max())
        input_ids = self.examples.inputs[example_ids.to(device), :longest]
        mask = None
        if int(lengths.min()) < longest:
            mask = (torch.arange(longest) < lengths[:, None]).long().to(device)
        encoder = self.language_model.get_encoder()
        if prompts.shape[1] == 0:
            return encoder(input_ids=input_ids, attention_mask=mask)[0], mask
        hidden = CTREncoder(encoder, None)(
            input_ids=input_ids, attention_mask=mask, prompt_embeds=prompts[prompt_ids.to(device)]
        )[0]
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), prompts.shape[1]), mask], dim=1)
        return hidden, mask
