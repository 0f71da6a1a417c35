"""The seam to language models: what a scorer asks of one, whatever its kind."""

from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from modeling_ctr import CTRPreTrainedModel

from .decoder_only import DecoderOnlyReader
from .encoder_decoder import EncoderDecoderReader
from .examples import ScoredExamples
from .targets import Targets


class LanguageModelReader(Protocol):
    """Reads examples with prompt vectors, scores their targets and writes answers; see [`EncoderDecoderReader`]."""

    def check_prompt_length(self, length: int) -> None: ...

    def get_lengths(self, prompt_length: int) -> torch.LongTensor: ...

    def score(
        self,
        prompts: torch.Tensor,
        prompt_ids: torch.LongTensor,
        example_ids: torch.LongTensor,
        targets: Targets,
        token_budget: int,
    ) -> tuple[torch.LongTensor, torch.LongTensor, torch.DoubleTensor]: ...

    def generate(
        self, prompts: torch.Tensor, prompt_ids: torch.LongTensor, example_ids: torch.LongTensor, **kwargs: Any
    ) -> list[list[int]]: ...


def get_language_model(model: PreTrainedModel) -> PreTrainedModel:
    """Get the language model inside of a CTR model, or the model itself."""
    return model.backbone if isinstance(model, CTRPreTrainedModel) else model


def make_reader(model: PreTrainedModel, examples: ScoredExamples) -> LanguageModelReader:
    """Make what reads examples with the language model of a CTR model, or with any language model.

    Prompt vectors stand where a CTR model's config says; in any other decoder-only model in front of the text.
    """
    language_model = get_language_model(model)
    if language_model.config.is_encoder_decoder:
        return EncoderDecoderReader(language_model, examples)
    bos_token_id = getattr(
        model.config if isinstance(model, CTRPreTrainedModel) else model.config.get_text_config(), "bos_token_id", None
    )
    return DecoderOnlyReader(language_model, examples, getattr(model.config, "code_position", "prefix"), bos_token_id)
