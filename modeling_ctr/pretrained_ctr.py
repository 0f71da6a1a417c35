"""What all CTR models share: the parts around the language model, loading, saving and how a call names its task."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers import initialization as init

from .check_codes import check_codes
from .codebook import TaskCodebook, TaskPrompt
from .configuration_ctr import CTRConfig
from .hub_errors import loading_errors
from .offloading import bring_back
from .task_arguments import as_tensor, get_task_tensors
from .task_registry import TaskRegistry

# Arguments of `from_pretrained` that say where a config is found as well.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class CTRPreTrainedModel(TaskRegistry, PreTrainedModel):
    """A language model, `backbone`, with a `task_codebook` and the vectors of tuned tasks, `tuned_prompts`.

    Tasks are given by `task_id` (training tasks, as in training), by `task_code` (any N integers), as `prompt_embeds`
    (any vectors, such as a tuned prompt), by name as `task` (one, or one for each input), or by the config's
    `default_task`.

    `tuned_prompts`, `(number of tuned tasks, code_length, width)`, float32, are the vectors of `config.tuned_tasks`, in
    that order; None where there are none. They are not trained along with the model, but saved with it.
    """

    config_class = CTRConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    backbone_class: type[Any]  # the auto class of the language model
    supports_gradient_checkpointing = True
    # The choice of codes must not depend on the language model's precision. Quantizers look at the first list.
    _keep_in_fp32_modules = ["task_codebook"]
    _keep_in_fp32_modules_strict = ["task_embedding", "position_maps", "code_vectors", "prompt_decoder"]
    _supports_sdpa = True
    _can_compile_fullgraph = True
    # transformers' Trainer must divide the loss by the accumulation steps itself: ours is a mean already.
    accepts_loss_kwargs = False

    def __init__(self, config: CTRConfig):
        super().__init__(config)
        self.backbone = self.backbone_class.from_config(config.text_config)
        self.task_codebook = TaskCodebook(
            num_tasks=config.num_tasks,
            task_embedding_dim=config.task_embedding_dim,
            code_length=config.code_length,
            codebook_size=config.codebook_size,
            code_dim=config.code_dim,
            prompt_dim=config.prompt_dim,
            commitment_cost=config.commitment_cost,
        )
        # A buffer: no optimizer, no stage of training and no digest of the weights is to know of it.
        shape = (len(config.tuned_tasks), config.code_length, config.prompt_dim)
        self.register_buffer("tuned_prompts", torch.zeros(shape, dtype=torch.float32) if config.tuned_tasks else None)
        self.post_init()
        if config.tuned_tasks:  # kept as they were tuned
            self._keep_in_fp32_modules_strict = {*self._keep_in_fp32_modules_strict, "tuned_prompts"}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Apply the authors' initialization, to our modules only: the language model initializes its own."""
        codebook = self.task_codebook
        if module is codebook.task_embedding:
            init.normal_(module.weight)
        elif module is codebook.position_maps:
            init.normal_(module.weight, std=0.1)
        elif module is codebook.code_vectors:
            init.uniform_(module.weight, -codebook.code_bound, codebook.code_bound)
        elif module is codebook.prompt_decoder:
            self._init_prompt_decoder(module)
        elif module is self and self.tuned_prompts is not None:
            init.zeros_(self.tuned_prompts)

    def _init_prompt_decoder(self, decoder: nn.Linear) -> None:
        init.kaiming_uniform_(decoder.weight, a=math.sqrt(5))  # as nn.Linear does

    def _init_codebook_again(self) -> None:
        """Initialize a new codebook that was offloaded while it was loaded, or whose words, which its size goes by, were."""
        for parameter in self.task_codebook.parameters():
            parameter._is_hf_initialized = False
        for part in self.task_codebook.children():
            self._init_weights(part)

    def _check_new_backbone(self) -> None:
        """Raise a ValueError where a language model that gets a new codebook cannot be given prompt vectors."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers; also loads a plain language model's checkpoint, with a new codebook, for a [`CTRConfig`],
        or for the `task_names` or `num_tasks` to make room for.

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
        was_away = bring_back(model.task_codebook, is_new=bool(missing))
        if missing:
            if was_away or model.get_input_embeddings().weight.is_meta:
                model._init_codebook_again()
            model._check_new_backbone()
        return (model, info) if output_loading_info else model

    @classmethod
    def from_backbone(cls, name_or_path: str, **kwargs: Any) -> "CTRPreTrainedModel":
        """Put a new, untrained task codebook on a pretrained language model.

        Args:
            name_or_path: Hub name or folder of a language model of the class's kind.
            **kwargs: Fields of [`CTRConfig`] (`task_names=[...]` or `num_tasks=...` is required); everything else,
                such as `dtype`, `device_map`, `revision` or `token`, goes to `from_pretrained`.

        Raises:
            OSError: There is no such folder, and the Hub did not give it.
            ValueError: Neither `task_names` nor `num_tasks` is given, or the language model is unsuitable.
        """
        config_kwargs = {key: kwargs.pop(key) for key in list(kwargs) if key in CTRConfig.own_fields()}
        if config_kwargs.get("task_names") is None and config_kwargs.get("num_tasks") is None:
            raise ValueError("`from_backbone` needs the tasks to make room for: give `task_names` or `num_tasks`.")
        hub_kwargs = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        with loading_errors(name_or_path):
            text_config = AutoConfig.from_pretrained(name_or_path, **hub_kwargs)
        return cls.from_pretrained(name_or_path, config=CTRConfig(text_config=text_config, **config_kwargs), **kwargs)

    # ------------------------------------------------------------------------------------- the task of a call

    def task_prompt(
        self,
        batch_size: int,
        task_id: torch.Tensor | None = None,
        task_code: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        task: str | Sequence[str] | None = None,
    ) -> TaskPrompt:
        """Compute prompt vectors, codes and vq loss for a batch; the task as in `forward`."""
        given = self._get_task_tensors(
            batch_size, task, task_id=task_id, task_code=task_code, prompt_embeds=prompt_embeds
        )
        return TaskPrompt(given["prompt_embeds"]) if "prompt_embeds" in given else self.task_codebook(**given)

    def _pop_checked_task(self, kwargs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Take the task out of `generate`'s arguments, for a check on the CPU: a wrong value gets a message there."""
        given = {name: kwargs.pop(name, None) for name in ("task_id", "task_code", "prompt_embeds")}
        return {name: as_tensor(name, value).cpu() for name, value in given.items() if value is not None}

    def prompt_vectors(self, task_code: torch.LongTensor) -> torch.Tensor:
        """Decode codes `(num_codes, N)` into prompt vectors `(num_codes, N, width)`, in the model's dtype."""
        check_codes(task_code, self.config.code_length, self.config.codebook_size, "`task_code`")
        return self.task_codebook.decode(task_code).to(self.get_input_embeddings().weight.dtype)

    def _get_task_tensors(
        self, batch_size: int, task: str | Sequence[str] | None, **given: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Get the task that is given, by name or otherwise, or else the default task, as `get_task_tensors` has it."""
        if all(value is None for value in given.values()):
            task = self.config.default_task if task is None else task
        elif task is not None:
            raise ValueError("Give one of `task`, `task_id`, `task_code` and `prompt_embeds`, not several.")
        if task is not None:
            if not isinstance(task, str) and (not isinstance(task, Sequence) or len(task) != batch_size):
                raise ValueError(
                    f"`task` must be a name, or a list of {batch_size} names, one for each input, but is {task!r:.200}."
                )
            given = self._get_arguments(task)
        return get_task_tensors(self.config, batch_size, self._codebook_device, **given)

    def _get_arguments(self, task: str | Sequence[str]) -> dict[str, torch.Tensor]:
        """Get what `forward` takes for the task of that name, or for those of each input. A ValueError if one is unknown."""
        if not isinstance(task, str):
            if all(name in self.config.task_names for name in task):
                return {
                    "task_id": torch.tensor([self.get_task_id(name) for name in task], device=self._codebook_device)
                }
            vectors = {name: self.get_task_vectors(name) for name in set(task)}
            return {"prompt_embeds": torch.stack([vectors[name] for name in task])}
        if task in self.config.task_names:
            return {"task_id": torch.tensor(self.get_task_id(task), device=self._codebook_device)}
        if task in self.config.tuned_tasks:
            return {"prompt_embeds": self.get_task_vectors(task)}
        return {"task_code": self.get_task_code(task)}

    # ------------------------------------------------------------------- what transformers asks of a model

    def _ask_as_configured(self, kwargs: dict[str, Any]) -> None:
        """Ask for what the config says is always wanted: the language model does not know of the outer config."""
        for name in ("output_attentions", "output_hidden_states"):
            if kwargs.get(name) is None and getattr(self.config, name):
                kwargs[name] = True

    def get_output_embeddings(self) -> nn.Module:
        return self.backbone.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.backbone.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """As in transformers; an untied head stays untied and is resized as well."""
        self._keep_untied_head()
        # By position: BART has no default for the first.
        embeddings = self.backbone.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self.config.text_config.vocab_size = self.vocab_size = embeddings.num_embeddings
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


__all__ = ["CTRPreTrainedModel"]
