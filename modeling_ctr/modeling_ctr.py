"""A seq2seq language model whose tasks are codes instead of prompts (Shao et al., ICLR 2023)."""

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils import can_return_tuple

from .codebook import TaskCodebook, TaskPrompt
from .configuration_ctr import CTRConfig, check_code
from .hub_errors import loading_errors
from .offloading import bring_back
from .prompt_encoder import CTREncoder, batch_size_of, prompt_attention_mask
from .task_arguments import as_tensor, check_code_tensor, position_of, task_tensors
from .task_code_file import TaskCode, check_codebook, load_task_code


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


class CTRPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config_class = CTRConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    # The choice of codes must not depend on the language model's precision, and what was tuned is kept as it was.
    _keep_in_fp32_modules_strict = ["task_codebook", "tuned_prompts"]
    _keep_in_fp32_modules = _keep_in_fp32_modules_strict  # the one that quantisers look at
    _supports_sdpa = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The authors' initialisation, of our modules only: the language model initialises its own."""
        codebook = self.task_codebook
        if module is codebook.task_embedding:
            init.normal_(module.weight)
        elif module is codebook.position_maps:
            init.normal_(module.weight, std=0.1)
        elif module is codebook.code_vectors:
            bound = 100 / codebook.codebook_size
            init.uniform_(module.weight, -bound, bound)
        elif module is codebook.prompt_decoder:
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # as nn.Linear does
        elif module is self and self.tuned_prompts is not None:
            init.zeros_(self.tuned_prompts)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers; also loads a plain language model's checkpoint when given a [`CTRConfig`].

        Raises:
            OSError: There is no such folder, and the Hub did not give it; or the weight file is truncated or damaged.
            ValueError: A tensor's shape is not the config's, unless `ignore_mismatched_sizes=True` is given; or a part
                of what is not the language model's is missing, as all of it may be.
        """
        ignore_mismatched_sizes = kwargs.pop("ignore_mismatched_sizes", False)
        output_loading_info = kwargs.pop("output_loading_info", False)
        try:
            with loading_errors(pretrained_model_name_or_path):
                model, info = super().from_pretrained(
                    pretrained_model_name_or_path,
                    *args,
                    # transformers' own error refers to a table on the screen; ours says what does not fit.
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    **kwargs,
                )
        except SafetensorError as error:
            raise OSError(
                f"The weights in '{pretrained_model_name_or_path}' cannot be read ({error}): the file is truncated or "
                "damaged. Download or save the checkpoint again."
            ) from error
        if info["mismatched_keys"] and not ignore_mismatched_sizes:
            key, found, expected = min(info["mismatched_keys"])
            raise ValueError(
                f"The checkpoint '{pretrained_model_name_or_path}' has another shape than the config: '{key}' is "
                f"{list(found)}, but should be {list(expected)} ({len(info['mismatched_keys'])} such tensors); load it "
                "with its own config."
            )
        ours = {name for name in model.state_dict() if not name.startswith(f"{cls.base_model_prefix}.")}
        missing = ours & set(info["missing_keys"])
        if missing and missing != ours:
            raise ValueError(
                f"The checkpoint '{pretrained_model_name_or_path}' is not whole: its config asks for "
                f"'{min(missing)}', which it lacks. Download or save it again."
            )
        bring_back(model.task_codebook)
        return (model, info) if output_loading_info else model


class CTRForConditionalGeneration(CTRPreTrainedModel, GenerationMixin):
    """A seq2seq language model with a task codebook in front of its encoder.

    Tasks are given by `task_id` (training tasks, as in training), by `task_code` (any N integers), as `prompt_embeds`
    (any vectors, such as a tuned prompt), by name as `task` (one, or one for each input), or by the config's
    `default_task`.

    `tuned_prompts`, `(number of tuned tasks, code_length, width)`, float32, are the vectors of `config.tuned_tasks`, in
    that order; None where there are none. They are not trained along with the model, but saved with it.
    """

    # transformers' Trainer must divide the loss by the accumulation steps itself: ours is a mean already.
    accepts_loss_kwargs = False

    def __init__(self, config: CTRConfig):
        super().__init__(config)
        self.backbone = AutoModelForSeq2SeqLM.from_config(config.text_config)
        self.task_codebook = TaskCodebook(
            num_tasks=config.num_tasks,
            task_embedding_dim=config.task_embedding_dim,
            code_length=config.code_length,
            codebook_size=config.codebook_size,
            code_dim=config.code_dim,
            prompt_dim=config.text_config.hidden_size,
            commitment_cost=config.commitment_cost,
        )
        # A buffer: no optimiser, no stage of training and no digest of the weights is to know of it.
        shape = (len(config.tuned_tasks), config.code_length, config.text_config.hidden_size)
        self.register_buffer("tuned_prompts", torch.zeros(shape, dtype=torch.float32) if config.tuned_tasks else None)
        self.post_init()

    @classmethod
    def from_backbone(cls, name_or_path: str, **kwargs: Any) -> "CTRForConditionalGeneration":
        """Put a new, untrained task codebook on a pretrained language model.

        Args:
            name_or_path: A Hub name or directory of a seq2seq language model.
            **kwargs: Fields of [`CTRConfig`] (`task_names=[...]` or `num_tasks=...` is required); everything else,
                such as `dtype`, `device_map`, `revision` or `token`, goes to `from_pretrained`.

        Raises:
            OSError: There is no such folder, and the Hub did not give it.
            ValueError: Neither `task_names` nor `num_tasks` is given, or the language model's family is unsupported.
        """
        own = {field.name for field in dataclasses.fields(CTRConfig)} - {
            field.name for field in dataclasses.fields(PreTrainedConfig)
        }
        config_kwargs = {key: kwargs.pop(key) for key in list(kwargs) if key in own}
        if config_kwargs.get("task_names") is None and config_kwargs.get("num_tasks") is None:
            raise ValueError("`from_backbone` needs the tasks to make room for: give `task_names` or `num_tasks`.")
        hub_kwargs = {
            key: kwargs[key]
            for key in ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
            if key in kwargs
        }
        with loading_errors(name_or_path):
            text_config = AutoConfig.from_pretrained(name_or_path, **hub_kwargs)
        return cls.from_pretrained(name_or_path, config=CTRConfig(text_config=text_config, **config_kwargs), **kwargs)

    # ------------------------------------------------------------------------------------------------- calls

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
        """Language-model and vq losses, and logits.

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
        if encoder_outputs is None:
            batch_size = batch_size_of(input_ids, inputs_embeds)
            prompt = self.task_prompt(batch_size, task_id, task_code, prompt_embeds, task)
            encoder_outputs = self.get_encoder()(
                input_ids=input_ids,
                attention_mask=attention_mask,
                prompt_embeds=prompt.prompt_vectors,
                inputs_embeds=inputs_embeds,
                **kwargs,
            )
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

    def generate(
        self, inputs: torch.Tensor | None = None, *args: Any, task: str | Sequence[str] | None = None, **kwargs: Any
    ):
        """`GenerationMixin.generate` for a task given by name, or by `task_id=`, `task_code=` or `prompt_embeds=`.

        These are as in `forward`. Instead of one name there may be one for each input.

        Raises:
            ValueError: No input; no or more than one of `task`, `task_id`, `task_code` and `prompt_embeds`; an unknown
                name, an id or a code value out of range, a wrong shape.
        """
        given = {name: kwargs.pop(name, None) for name in ("task_id", "task_code", "prompt_embeds")}
        if kwargs.get("encoder_outputs") is None:
            batch_size = batch_size_of(inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
            # Checked on the CPU, once per call, so that a wrong value gets a message instead of a device assertion.
            given = {name: as_tensor(name, value).cpu() for name, value in given.items() if value is not None}
            kwargs |= self._task_tensors(batch_size, task, **given)
        return super().generate(inputs, *args, **kwargs)

    def choice_log_likelihoods(
        self,
        input_ids: torch.LongTensor,
        choice_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        task_id: torch.LongTensor | None = None,
        task_code: torch.LongTensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Summed log-probability of each answer choice, for rank classification (T0's protocol).

        Args:
            input_ids: `(batch, sequence_length)`; encoded once for all choices.
            choice_ids: `(batch, num_choices, choice_length)`, end tokens included, padded with -100. Where an example
                has fewer choices than others, the surplus rows are -100 throughout.
            task_id, task_code, prompt_embeds: As in `forward`.

        Returns:
            `(batch, num_choices)`, float32; -inf where there is no choice.
        """
        batch_size, num_choices, choice_length = choice_ids.shape
        encoder_outputs = self.get_encoder()(input_ids, attention_mask, task_id, task_code, prompt_embeds)
        labels = choice_ids.reshape(batch_size * num_choices, choice_length)
        if attention_mask is not None:
            attention_mask = attention_mask.repeat_interleave(num_choices, 0)
        logits = self(
            attention_mask=attention_mask,
            encoder_outputs=BaseModelOutput(encoder_outputs[0].repeat_interleave(num_choices, 0)),
            decoder_input_ids=self.prepare_decoder_input_ids_from_labels(labels),
        ).logits  # (batch * num_choices, choice_length, vocab)
        token_losses = nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        scores = -token_losses.sum(1).view(batch_size, num_choices)
        return scores.masked_fill((choice_ids == -100).all(-1), float("-inf"))

    def get_encoder(self, modality: str | None = None) -> CTREncoder:
        """The encoder that puts a task's vectors in front of its input; `generate` calls it."""
        return CTREncoder(self.backbone.get_encoder(), self.task_prompt)

    def task_prompt(
        self,
        batch_size: int,
        task_id: torch.Tensor | None = None,
        task_code: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        task: str | Sequence[str] | None = None,
    ) -> TaskPrompt:
        """Prompt vectors, codes and vq loss for a batch; the task as in `forward`."""
        given = self._task_tensors(batch_size, task, task_id=task_id, task_code=task_code, prompt_embeds=prompt_embeds)
        return TaskPrompt(given["prompt_embeds"]) if "prompt_embeds" in given else self.task_codebook(**given)

    def prompt_vectors(self, task_code: torch.LongTensor) -> torch.Tensor:
        """Codes `(num_codes, code_length)` -> prompt vectors `(num_codes, code_length, width)`, in the model's dtype."""
        check_code_tensor(task_code, self.config)
        return self.task_codebook.decode(task_code).to(self.get_input_embeddings().weight.dtype)

    def _task_tensors(
        self, batch_size: int, task: str | Sequence[str] | None, **given: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The task that is given, by name or otherwise, or else the default task, as `task_tensors` has it."""
        if all(value is None for value in given.values()):
            task = self.config.default_task if task is None else task
        elif task is not None:
            raise ValueError("Give one of `task`, `task_id`, `task_code` and `prompt_embeds`, not several.")
        if task is not None:
            if not isinstance(task, str) and (not isinstance(task, Sequence) or len(task) != batch_size):
                raise ValueError(
                    f"`task` must be a name, or a list of {batch_size} names, one for each input, but is {task!r:.200}."
                )
            given = self._arguments_of(task)
        return task_tensors(self.config, batch_size, self._codebook_device, **given)

    @property
    def _codebook_device(self) -> torch.device:
        return self.task_codebook.code_vectors.weight.device

    # ------------------------------------------------------------------------------------------- task registry

    @property
    def task_names(self) -> list[str]:
        """Names of the training tasks, in order of their ids, then of the added ones, then of the tuned ones."""
        return [*self.config.task_names, *self.config.added_task_codes, *self.config.tuned_tasks]

    def task_codes(self) -> torch.LongTensor:
        """The codes of all training tasks, `(num_tasks, code_length)`, as the weights give them now."""
        return self.task_codebook.all_task_codes()

    def task_id_of(self, name: str) -> int:
        """A training task's id. Raises a ValueError for any other name."""
        return position_of(name, self.config.task_names)

    def task_code_of(self, name: str) -> torch.LongTensor:
        """A training or added task's code, `(code_length,)`. Raises a ValueError for an unknown name or a tuned task."""
        position = position_of(name, self.task_names)
        if position < self.config.num_tasks:
            return self.task_codes()[position]
        if name in self.config.tuned_tasks:
            raise ValueError(f"'{name}' is a tuned task: it has prompt vectors of its own and no code.")
        return torch.tensor(self.config.added_task_codes[name], device=self._codebook_device)

    def task_vectors_of(self, name: str) -> torch.Tensor:
        """Any task's prompt vectors, `(code_length, width)`, float32. Raises a ValueError for an unknown name."""
        if name in self.config.tuned_tasks:
            return self.tuned_prompts[self.config.tuned_tasks.index(name)]
        return self.task_codebook.decode(self.task_code_of(name))

    def _arguments_of(self, task: str | Sequence[str]) -> dict[str, torch.Tensor]:
        """What `forward` takes for the task of that name, or for those of each input. A ValueError if one is unknown."""
        if not isinstance(task, str):
            if all(name in self.config.task_names for name in task):
                return {
                    "task_id": torch.tensor([self.task_id_of(name) for name in task], device=self._codebook_device)
                }
            vectors = {name: self.task_vectors_of(name) for name in set(task)}
            return {"prompt_embeds": torch.stack([vectors[name] for name in task])}
        if task in self.config.task_names:
            return {"task_id": torch.tensor(self.task_id_of(task), device=self._codebook_device)}
        if task in self.config.tuned_tasks:
            return {"prompt_embeds": self.task_vectors_of(task)}
        return {"task_code": self.task_code_of(task)}

    def add_task(self, name: str, task_code: Sequence[int] | np.ndarray | torch.LongTensor) -> None:
        """Make a found code part of the model, and of every checkpoint saved from now on, under a new name.

        Raises:
            ValueError: The name is taken or no string, or the code has another length or a value out of range.
        """
        self._check_new(name)
        code = task_code.tolist() if isinstance(task_code, (torch.Tensor, np.ndarray)) else list(task_code)
        check_code(code, self.config.code_length, self.config.codebook_size, f"The code of '{name}'")
        self.config.added_task_codes = {**self.config.added_task_codes, name: code}

    def add_tuned_task(self, name: str, vectors: np.ndarray | torch.Tensor) -> None:
        """Make tuned prompt vectors part of the model, and of every checkpoint saved from now on, under a new name.

        Args:
            name: Of the task.
            vectors: `(code_length, width)`, as a code's, e.g. from `search.tune_prompt` or a peft adapter.

        Raises:
            ValueError: The name is taken or no string; the vectors have another shape or are not finite.
        """
        self._check_new(name)
        vectors = as_tensor("vectors", vectors)
        expected = (self.config.code_length, self.config.text_config.hidden_size)
        if tuple(vectors.shape) != expected:
            raise ValueError(f"The vectors of '{name}' have shape {tuple(vectors.shape)}, but should have {expected}.")
        if not vectors.isfinite().all():
            raise ValueError(f"The vectors of '{name}' are not all finite.")
        row = vectors.detach().to(self._codebook_device, torch.float32, copy=True)[None]
        self.tuned_prompts = row if self.tuned_prompts is None else torch.cat([self.tuned_prompts, row])
        self.config.tuned_tasks = [*self.config.tuned_tasks, name]

    def remove_task(self, name: str) -> None:
        """Forget an added or tuned task, e.g. to put a better one in its place.

        Raises:
            ValueError: There is no such task, or it is a training task.
        """
        position_of(name, self.task_names)
        if name in self.config.task_names:
            raise ValueError(f"'{name}' is a training task, which cannot be removed: others' ids depend on its place.")
        if name in self.config.tuned_tasks:
            kept = [i for i, other in enumerate(self.config.tuned_tasks) if other != name]
            self.tuned_prompts = self.tuned_prompts[kept] if kept else None
            self.config.tuned_tasks = [self.config.tuned_tasks[i] for i in kept]
        self.config.added_task_codes = {k: v for k, v in self.config.added_task_codes.items() if k != name}
        if self.config.default_task == name:
            self.config.default_task = None

    def _check_new(self, name: str) -> None:
        if not isinstance(name, str):
            raise ValueError(f"A task's name must be a string, but is {name!r}.")
        if name in self.task_names:
            raise ValueError(f"There is already a task '{name}'; choose another name.")

    def load_task(self, source: str | os.PathLike, name: str | None = None, **kwargs: Any) -> TaskCode:
        """Add a task from a task code file, a folder with one, or a Hub repository, e.g. "user/rte-code".

        Args:
            source: The file, folder or repository, as `save_task_code` and `push_task_code` write them.
            name: The task's name in this model; by default, the one in the file.
            **kwargs: `revision`, `token` and `cache_dir`, for the Hub.

        Returns:
            What was read, under the name that the task now has.

        Raises:
            OSError: There is no such file or repository, or the Hub did not give it.
            ValueError: It is no task code file, it belongs to another codebook, or the name is taken.
        """
        task_code = load_task_code(source, **kwargs)
        check_codebook(task_code, self.task_codebook, str(source))
        check_code(task_code.code, self.config.code_length, self.config.codebook_size, f"The code in '{source}'")
        if name is not None:
            task_code = dataclasses.replace(task_code, name=name)
        self.add_task(task_code.name, task_code.code)
        return task_code

    # ------------------------------------------------------------------- what transformers asks of a model

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """Labels `(batch, target_length)` shifted to the right, as data collators ask."""
        return self.backbone.prepare_decoder_input_ids_from_labels(labels)

    def get_output_embeddings(self) -> nn.Module:
        return self.backbone.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.backbone.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As in transformers; an untied head stays untied and is resized as well."""
        self._keep_untied_head()
        embeddings = self.backbone.resize_token_embeddings(*args, **kwargs)
        self.config.text_config.vocab_size = embeddings.num_embeddings
        return embeddings

    def tie_weights(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers; an untied head stays untied."""
        # While a checkpoint is loaded (`missing_keys`), transformers compares the weights itself.
        if kwargs.get("missing_keys") is None and not args:
            self._keep_untied_head()
        super().tie_weights(*args, **kwargs)

    def _keep_untied_head(self) -> None:
        """Let the language model forget that its head could be tied, where it is not.

        T5 v1.1's head differs from its embeddings, but transformers 5 keeps no trace of that in the config, and would
        tie them the next time anything calls `tie_weights`.
        """
        head, embeddings = self.get_output_embeddings(), self.get_input_embeddings()
        if head.weight.device.type == "meta":  # about to be loaded: nothing is tied yet
            return
        tied_keys = self.backbone._tied_weights_keys
        if head.weight is not embeddings.weight and tied_keys and "lm_head.weight" in tied_keys:
            self.backbone._tied_weights_keys = {k: v for k, v in tied_keys.items() if k != "lm_head.weight"}


__all__ = ["CTRForConditionalGeneration", "CTROutput", "CTRPreTrainedModel"]
