"""A seq2seq language model whose tasks are codes instead of prompts (Shao et al., ICLR 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils import can_return_tuple

from .answer_likelihoods import compute_answer_log_likelihoods
from .check_inputs import check_token_ids, get_batch_size
from .configuration_ctr import CTRConfig
from .generation_options import merge_generation_config, take_text
from .pretrained_ctr import CTRPreTrainedModel
from .prompt_encoder import CTREncoder, prompt_attention_mask


@dataclass
class CTROutput(Seq2SeqLMOutput):
    """
    Output of [`CTRForConditionalGeneration`], on top of what a seq2seq language model returns.

    Args:
        loss (scalar `torch.FloatTensor`, with labels):
            `lm_loss + vq_loss`, or `lm_loss` where a code or prompt vectors were given.
        lm_loss (scalar `torch.FloatTensor`, with labels): Mean cross-entropy over the target tokens.
        vq_loss (scalar `torch.FloatTensor`, where tasks were given by id): Paper, equation 2.
        task_codes (`torch.LongTensor` of shape `(batch, code_length)`):
            The codes in front of the input, except where prompt vectors were given.
        encoder_last_hidden_state (`torch.FloatTensor` of shape `(batch, prompt_length + sequence_length, width)`):
            The prompt's positions come first.
    """

    lm_loss: torch.FloatTensor | None = None
    vq_loss: torch.FloatTensor | None = None
    task_codes: torch.LongTensor | None = None


class CTRForConditionalGeneration(CTRPreTrainedModel, GenerationMixin):
    """An encoder-decoder language model with a task's prompt vectors in front of its encoder's input."""

    backbone_class = AutoModelForSeq2SeqLM

    def __init__(self, config: CTRConfig):
        if not config.is_encoder_decoder:
            raise ValueError(
                f"The config wraps a '{config.text_config.model_type}' model, which has no encoder: load it with "
                "`CTRForCausalLM` or `AutoModelForCausalLM`."
            )
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        task_id: torch.LongTensor | None = None,
        task_code: torch.LongTensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> CTROutput:
        """Compute language-model and vq losses, and logits.

        Args:
            input_ids: `(batch, sequence_length)`, padded on either side.
            attention_mask: `(batch, sequence_length)`, without the prompt; all ones if not given.
            task_id: `(batch,)`, positions in `config.task_names`. Tasks may be mixed in a batch.
            task_code: `(batch, code_length)`, or `(code_length,)` for the whole batch.
            prompt_embeds: `(batch, prompt_length, width)`, or `(prompt_length, width)` for the whole batch: vectors to
                stand in front of the input as they are. Exactly one of these three or a name, `task=`, is given, or none
                where the config has a `default_task` or `encoder_outputs` are given.
            encoder_outputs: What `get_encoder()` returned, prompt included; the task is then not looked at.
            labels: `(batch, target_length)`, -100 where there is no target.

        Raises:
            ValueError: There is no input; none or several of `task_id`, `task_code` and `prompt_embeds` are given, or
                one has a wrong shape; also, for tensors on the CPU, if a value is out of range (elsewhere the look-up
                fails).
        """
        # Not among the arguments above: the Trainer would take a data set's column of that name for it.
        task, prompt = kwargs.pop("task", None), None
        self._ask_as_configured(kwargs)
        if encoder_outputs is None:
            batch_size = get_batch_size(input_ids, inputs_embeds)
            prompt = self.task_prompt(batch_size, task_id, task_code, prompt_embeds, task)
            encoder_outputs = CTREncoder(self.backbone.get_encoder(), None)(  # the task was checked just now
                input_ids=input_ids,
                attention_mask=attention_mask,
                prompt_embeds=prompt.prompt_vectors,
                inputs_embeds=inputs_embeds,
                **kwargs,
            )
        if labels is not None:  # -100 where there is none
            check_token_ids(labels.clamp(min=0), self.config.text_config.vocab_size, "`labels`")
        if attention_mask is not None:
            prompt_length = encoder_outputs[0].shape[1] - attention_mask.shape[1]
            if prompt_length:  # `generate` keeps the mask of the text alone
                attention_mask = prompt_attention_mask(attention_mask, prompt_length)
        outputs = self.backbone(
            attention_mask=attention_mask,
            encoder_outputs=encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            decoder_inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            **kwargs,
        )
        lm_loss, vq_loss = outputs.loss, None if prompt is None else prompt.vq_loss
        loss = lm_loss if lm_loss is None or vq_loss is None else lm_loss + vq_loss.to(lm_loss.device)
        return CTROutput(
            **{**outputs, "loss": loss},
            lm_loss=lm_loss,
            vq_loss=vq_loss,
            task_codes=None if prompt is None else prompt.task_codes,
        )

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        task: str | Sequence[str] | None = None,
        **kwargs: Any,
    ):
        """`GenerationMixin.generate` for a task given by name, or by `task_id=`, `task_code=` or `prompt_embeds=`.

        These are as in `forward`. Instead of one name there may be one for each input.

        Raises:
            ValueError: No input; no or more than one of `task`, `task_id`, `task_code` and `prompt_embeds`; an unknown
                name, an id or a code value out of range, a wrong shape.
        """
        given = self._pop_checked_task(kwargs)
        config, kwargs = merge_generation_config(self.generation_config, generation_config, kwargs)
        encoder_outputs = kwargs.pop("encoder_outputs", None)
        if encoder_outputs is not None:
            input_ids, mask = inputs, kwargs.pop("attention_mask", None)
        else:
            input_ids, inputs_embeds, mask = take_text(inputs, kwargs, config, self.device)
            options = {name: True for name in ("output_attentions", "output_hidden_states") if getattr(config, name)}
            encoder_outputs = self.get_encoder()(
                input_ids, mask, **given, inputs_embeds=inputs_embeds, task=task, **options
            )
        if mask is not None and mask.shape[1] < encoder_outputs[0].shape[1]:
            mask = prompt_attention_mask(mask, encoder_outputs[0].shape[1] - mask.shape[1])
        # The language model's own `generate` knows what caches it needs.
        return self.backbone.generate(
            input_ids, config, *args, encoder_outputs=encoder_outputs, attention_mask=mask, **kwargs
        )

    def choice_log_likelihoods(
        self,
        input_ids: torch.LongTensor,
        choice_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        task_id: torch.LongTensor | None = None,
        task_code: torch.LongTensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        task: str | Sequence[str] | None = None,
    ) -> torch.FloatTensor:
        """Compute the summed log-probability of each answer choice, for rank classification (T0's protocol).

        Args:
            input_ids: `(batch, sequence_length)`; encoded once for all choices.
            choice_ids: `(batch, num_choices, choice_length)`, end tokens included, padded with -100. Where an example
                has fewer choices than others, the surplus rows are -100 throughout.
            task_id, task_code, prompt_embeds, task: Task, or one for each input, as in `forward`.

        Returns:
            `(batch, num_choices)`, float32; -inf where there is no choice.
        """
        states = self.get_encoder()(input_ids, attention_mask, task_id, task_code, prompt_embeds, task=task)[0]
        if attention_mask is not None:
            attention_mask = prompt_attention_mask(attention_mask, states.shape[1] - attention_mask.shape[1])
        is_token = choice_ids != -100
        is_choice = is_token.any(-1)
        choices = choice_ids[is_choice].clamp(min=0)
        values = compute_answer_log_likelihoods(
            self.backbone,
            states,
            attention_mask,
            choices,
            is_token[is_choice].sum(-1).cpu(),
            is_choice.nonzero()[:, 0].cpu(),
            torch.arange(len(choices)),
        )
        scores = values.new_full(is_choice.shape, float("-inf"), dtype=torch.float32)
        return scores.masked_scatter(is_choice, values.float())

    def get_encoder(self, modality: str | None = None) -> CTREncoder:
        """Make the encoder that puts a task's vectors in front of its input; `generate` calls it."""
        return CTREncoder(self.backbone.get_encoder(), self.task_prompt)

    # ------------------------------------------------------------------- what transformers asks of a model

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """Shift labels `(batch, target_length)` to the right, as data collators ask."""
        return self.backbone.prepare_decoder_input_ids_from_labels(labels)


__all__ = ["CTRForConditionalGeneration", "CTROutput"]
