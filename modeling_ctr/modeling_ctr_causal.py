"""A decoder-only language model whose tasks are codes: the prompt vectors stand among the tokens of its one sequence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, GenerationMixin
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple, logging

from .answer_likelihoods import sum_log_probabilities
from .check_backbone import check_causal_backbone, takes_argument
from .check_inputs import check_length, check_shapes, check_token_ids, get_batch_size
from .configuration_ctr import CTRConfig
from .generation_options import count_new_tokens, merge_generation_config, take_text
from .joined_inputs import (
    JoinedInputs,
    append_answers,
    cover_prompt,
    get_position_ids,
    get_prompt_place,
    join_inputs,
    move_padding_to_front,
)
from .pretrained_ctr import CTRPreTrainedModel
from .text_reading import can_read_apart, read_apart

logger = logging.get_logger(__name__)


@dataclass
class CTRCausalOutput(CausalLMOutputWithPast):
    """
    Output of [`CTRForCausalLM`], on top of what a decoder-only language model returns.

    Args:
        loss (scalar `torch.FloatTensor`, with labels):
            `lm_loss + vq_loss`, or `lm_loss` where a code or prompt vectors were given.
        logits (`torch.FloatTensor` of shape `(batch, sequence_length, vocab_size)`):
            For each token of the text, of the next; the prompt's positions are left out.
        lm_loss (scalar `torch.FloatTensor`, with labels): Mean cross-entropy over the labelled tokens.
        vq_loss (scalar `torch.FloatTensor`, where tasks were given by id): Paper, equation 2.
        task_codes (`torch.LongTensor` of shape `(batch, code_length)`):
            The codes of the prompt, except where prompt vectors were given.
    """

    lm_loss: torch.FloatTensor | None = None
    vq_loss: torch.FloatTensor | None = None
    task_codes: torch.LongTensor | None = None


class CTRForCausalLM(CTRPreTrainedModel, GenerationMixin):
    """A decoder-only language model with a task's prompt vectors in front of each text, or behind it.

    Where they stand is `config.code_position`: "prefix" (behind a bos token, where the text starts with one) or "suffix"
    (between text and answer, so that what the model reads of a text does not depend on its task).
    """

    backbone_class = AutoModelForCausalLM
    # The same text in every family; what the wrapped one cannot do it refuses itself.
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: CTRConfig):
        if config.is_encoder_decoder:
            raise ValueError(
                f"The config wraps a '{config.text_config.model_type}' model, which has an encoder: load it with "
                "`CTRForConditionalGeneration` or `AutoModelForSeq2SeqLM`."
            )
        super().__init__(config)

    def _init_prompt_decoder(self, decoder: nn.Linear) -> None:
        """Make prompt vectors as long as word vectors: without it, those of large embeddings would go unheard.

        The length follows from uniform code vectors and uniform weights, both with known bounds.
        """
        embeddings = self.get_input_embeddings()
        is_meta = embeddings.weight.is_meta
        # Being loaded: once the words can be read, this is called again.
        if is_meta and not hasattr(embeddings, "_hf_hook"):
            return super()._init_prompt_decoder(decoder)
        if not embeddings.weight.is_floating_point():
            logger.warning("The word vectors are quantized: prompt vectors start at a length of their own.")
            return super()._init_prompt_decoder(decoder)
        device = torch.device("cpu") if is_meta else embeddings.weight.device  # offloaded: accelerate fetches them
        ids = torch.linspace(0, embeddings.weight.shape[0] - 1, 256, device=device).long()
        length = float(embeddings(ids).float().norm(dim=-1).mean())  # by a call, since some scale what they hold
        bound = 3 * length / (self.task_codebook.code_bound * math.sqrt(decoder.in_features * decoder.out_features))
        # Where nothing is known of the words, as in a model of zeros, there is nothing to go by.
        init.uniform_(decoder.weight, -bound, bound) if length else super()._init_prompt_decoder(decoder)

    def _check_new_backbone(self) -> None:
        check_causal_backbone(self.backbone)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        task_id: torch.LongTensor | None = None,
        task_code: torch.LongTensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CTRCausalOutput:
        """Compute language-model and vq losses, and logits.

        Args:
            input_ids: `(batch, sequence_length)`, the text and, in training, the answer; padded on either side.
            attention_mask: `(batch, sequence_length)`, without the prompt; all ones if not given.
            task_id: `(batch,)`, positions in `config.task_names`. Tasks may be mixed in a batch.
            task_code: `(batch, code_length)`, or `(code_length,)` for the whole batch.
            prompt_embeds: `(batch, prompt_length, width)`, or `(prompt_length, width)` for the whole batch: vectors to
                use as they are. Exactly one of these three or a name, `task=`, is given, or none where the config has a
                `default_task`.
            past_key_values: What was read so far. Where it holds anything, the prompt is in it, and the task is not
                looked at.
            labels: `(batch, sequence_length)`, as `input_ids`, -100 in front of the answer and for padding. A suffix
                stands in front of the first label, or behind the text where there are none.
            logits_to_keep: Number of last tokens to compute logits for; 0 for all.

        Raises:
            ValueError: There is no input; the mask or the labels are not of its shape; none or several of `task_id`,
                `task_code` and `prompt_embeds` are given, or one has a wrong shape; also, for tensors on the CPU, if a
                value is out of range.
        """
        # Not among the arguments above: the Trainer would take a data set's column of that name for it.
        task = kwargs.pop("task", None)
        self._ask_as_configured(kwargs)
        batch_size = get_batch_size(input_ids, inputs_embeds)
        options = {"past_key_values": past_key_values, "use_cache": use_cache} | kwargs
        if past_key_values is not None and past_key_values.get_seq_length():
            return self._continue(input_ids, inputs_embeds, attention_mask, labels, logits_to_keep, options)
        if kwargs.get("position_ids") is not None:
            raise ValueError("`position_ids` cannot be given: those behind the prompt follow from `attention_mask`.")
        prompt = self.task_prompt(batch_size, task_id, task_code, prompt_embeds, task)
        joined = self._join(prompt.prompt_vectors, input_ids, inputs_embeds, attention_mask, labels)
        length, kept = joined.before_next.shape[1], logits_to_keep
        skipped = length - kept if 0 < kept < length else 0
        before_next = joined.before_next[:, skipped:]
        # Of graphs that are compiled the shapes do not depend on the values.
        first = skipped if torch.compiler.is_compiling() else int(before_next.min())
        outputs = self._run_backbone(joined, options, joined.inputs_embeds.shape[1] - first if first else 0)
        rows = (before_next - first)[..., None]
        logits = outputs.logits.gather(1, rows.to(outputs.logits.device).expand(-1, -1, outputs.logits.shape[-1]))
        lm_loss = None if labels is None else compute_lm_loss(logits, labels[:, skipped:])
        vq_loss = prompt.vq_loss
        loss = lm_loss if lm_loss is None or vq_loss is None else lm_loss + vq_loss.to(lm_loss.device)
        return CTRCausalOutput(
            **{**outputs, "logits": logits, "loss": loss},
            lm_loss=lm_loss,
            vq_loss=vq_loss,
            task_codes=prompt.task_codes,
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

        These are as in `forward`; instead of one name there may be one for each input. Texts may be padded on either
        side; in what is returned their padding stands in front.

        Raises:
            ValueError: No input; no or more than one of `task`, `task_id`, `task_code` and `prompt_embeds`; an unknown
                name, an id or a code value out of range, a wrong shape; `max_length` leaves no room for a new token;
                an `assistant_model`, `prompt_lookup_num_tokens`, or `past_key_values` that hold something.
        """
        if kwargs.get("assistant_model") is not None or kwargs.get("prompt_lookup_num_tokens") is not None:
            raise ValueError(
                "transformers' assisted generation reads vectors without the guessed tokens behind them, and would give "
                "other tokens than greedy: leave `assistant_model` and `prompt_lookup_num_tokens` out."
            )
        if kwargs.get("past_key_values") is not None and kwargs["past_key_values"].get_seq_length():
            raise ValueError("`generate` starts from a text, not from `past_key_values`; give the whole text.")
        given = self._pop_checked_task(kwargs)
        config, kwargs = merge_generation_config(self.generation_config, generation_config, kwargs)
        input_ids, inputs_embeds, mask = take_text(inputs, kwargs, config, self.device)
        batch_size = get_batch_size(input_ids, inputs_embeds)
        prompt = self.task_prompt(batch_size, **given, task=task)
        check_shapes((inputs_embeds if input_ids is None else input_ids).shape[:2], attention_mask=mask)
        if mask is not None:  # generation goes on where the row ends
            order = move_padding_to_front(mask)
            mask = mask.gather(1, order)
            if input_ids is not None:
                input_ids = input_ids.gather(1, order)
            else:
                inputs_embeds = inputs_embeds.gather(1, order[..., None].expand_as(inputs_embeds))
        joined = self._join(prompt.prompt_vectors, input_ids, inputs_embeds, mask, None)
        count_new_tokens(config, joined.before_next.shape[1])
        kwargs |= {"inputs_embeds": joined.inputs_embeds, "attention_mask": joined.attention_mask}
        if input_ids is not None:  # for what looks at the text: processors, streamers and the result
            kwargs["input_ids"] = input_ids
        return self.backbone.generate(None, config, *args, **kwargs)

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
            input_ids: `(batch, sequence_length)`, the texts alone.
            choice_ids: `(batch, num_choices, choice_length)`, padded with -100. Where an example has fewer choices than
                others, the surplus rows are -100 throughout.
            task_id, task_code, prompt_embeds, task: Task, or one for each input, as in `forward`.

        Returns:
            `(batch, num_choices)`, float32; -inf where there is no choice.
        """
        batch_size, num_choices, choice_length = choice_ids.shape
        prompt = self.task_prompt(batch_size, task_id, task_code, prompt_embeds, task).prompt_vectors
        answers = choice_ids.reshape(batch_size * num_choices, choice_length)
        if attention_mask is not None:
            attention_mask = attention_mask.repeat_interleave(num_choices, 0)
        texts = append_answers(input_ids.repeat_interleave(num_choices, 0), attention_mask, answers)
        joined = self._join(prompt.repeat_interleave(num_choices, 0), inputs_embeds=None, **texts)
        # Before the first answer's token stands the last of the text or of a suffix.
        logits = self._run_backbone(joined, {}, logits_to_keep=choice_length + 1).logits[:, :-1]
        lengths = (answers != -100).sum(1).to(logits.device)
        values = sum_log_probabilities(logits.float(), answers.clamp(min=0).to(logits.device), lengths)
        scores = values.float().view(batch_size, num_choices)
        return scores.masked_fill((lengths == 0).view(scores.shape), float("-inf"))

    # ------------------------------------------------------------------------------------------------ inside

    def _join(
        self,
        prompt_vectors: torch.Tensor,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor | None,
    ) -> JoinedInputs:
        """Put the prompt where `config.code_position` says; checks the shapes of mask and labels."""
        shape = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]
        check_shapes(shape, attention_mask=attention_mask, labels=labels)
        check_length(self.config.text_config.get_text_config(), prompt_vectors.shape[1], shape[1])
        if inputs_embeds is None:
            embeddings = self.get_input_embeddings()
            check_token_ids(input_ids, embeddings.num_embeddings, "`input_ids`")
            inputs_embeds = embeddings(input_ids)
            if labels is not None:
                check_token_ids(labels.clamp(min=0), embeddings.num_embeddings, "`labels`")
        if attention_mask is None:
            attention_mask = torch.ones(shape, dtype=torch.long, device=inputs_embeds.device)
        config = self.config
        place = get_prompt_place(config.code_position, attention_mask, input_ids, config.bos_token_id, labels)
        prompt_vectors = prompt_vectors.to(inputs_embeds.device, inputs_embeds.dtype)
        return join_inputs(prompt_vectors, inputs_embeds, attention_mask, place)

    def _run_backbone(self, joined: JoinedInputs, options: dict[str, Any], logits_to_keep: int) -> Any:
        """Run the language model on a joined sequence; its logits are those of the last `logits_to_keep` places, or of all."""
        if takes_argument(self.backbone, "position_ids"):
            options = options | {"position_ids": joined.position_ids}
        if takes_argument(self.backbone, "logits_to_keep"):
            options = options | {"logits_to_keep": logits_to_keep}
        length = joined.inputs_embeds.shape[1]
        start = min(self._get_suffix_start(joined), length - logits_to_keep) if logits_to_keep else 0
        if can_read_apart(self.backbone, joined, options, start):
            outputs = read_apart(self.backbone, joined, options, start)
        else:
            outputs = self.backbone(
                inputs_embeds=joined.inputs_embeds, attention_mask=joined.attention_mask, return_dict=True, **options
            )
        outputs.logits = outputs.logits[:, -logits_to_keep:]
        return outputs

    def _get_suffix_start(self, joined: JoinedInputs) -> int:
        """Get how many places all rows have in front of a suffix; 0 with a prefix."""
        if self.config.code_position != "suffix" or not self.training or torch.compiler.is_compiling():
            return 0
        return int(joined.place.min())

    def _continue(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor | None,
        logits_to_keep: int,
        options: dict[str, Any],
    ) -> CTRCausalOutput:
        """Read on behind a prompt and text that are in the cache; the mask may be that of the text alone."""
        text = {"inputs_embeds": inputs_embeds} if input_ids is None else {"input_ids": input_ids}
        (values,) = text.values()
        whole = options["past_key_values"].get_seq_length() + values.shape[1]
        if attention_mask is None:
            attention_mask = torch.ones(values.shape[0], whole, dtype=torch.long, device=values.device)
        elif attention_mask.shape[1] < whole:
            attention_mask = cover_prompt(attention_mask, whole - attention_mask.shape[1])
        if takes_argument(self.backbone, "position_ids"):
            options["position_ids"] = get_position_ids(attention_mask)[:, -values.shape[1] :]
        outputs = self.backbone(**text, attention_mask=attention_mask, return_dict=True, **options)
        logits = outputs.logits[:, -logits_to_keep:]
        lm_loss = None if labels is None else compute_lm_loss(logits, labels[:, -logits_to_keep:])
        return CTRCausalOutput(**{**outputs, "logits": logits, "loss": lm_loss}, lm_loss=lm_loss)


def compute_lm_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the mean cross-entropy of logits `(B, L, V)` with the labels `(B, L)` of the tokens after them."""
    labels = labels[:, 1:].to(logits.device)
    return nn.functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), labels, ignore_index=-100)


__all__ = ["CTRCausalOutput", "CTRForCausalLM"]
