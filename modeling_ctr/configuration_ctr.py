"""Configuration of a CTR model: a language model's own config plus the shape of the task codebook."""

from dataclasses import fields
from textwrap import shorten
from typing import Any

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from packaging.version import Version
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig, __version__

from .check_codes import check_codes
from .checkpoint_name import public_name
from .task_details import TaskDetails

# In front of what the encoder of these encoder-decoder families reads, vectors can be put: from its word vectors it computes the
# same as from their tokens. Each is tested.
SUPPORTED_BACKBONES = ("bart", "longt5", "mt5", "pegasus", "t5", "t5gemma", "t5gemma2", "umt5")
# Their `prepare_decoder_input_ids_from_labels` moves the last token to the front.
STARTS_WITH_THE_LAST = ("mbart", "plbart")


@strict
class CTRConfig(PreTrainedConfig):
    r"""Configuration of [`CTRForConditionalGeneration`] and [`CTRForCausalLM`]; the defaults are those of the paper (section 4.1).

    Args:
        text_config (`PreTrainedConfig` or `dict`, *optional*, defaults to a T5 config):
            Config of the wrapped language model: decoder-only, or of one of the families in `SUPPORTED_BACKBONES`.
        num_tasks (`int`, *optional*, defaults to the number of `task_names`, or 1):
            Number of training tasks; each has a learned embedding.
        task_names (`list[str]`, *optional*, defaults to `["task_0", ...]`):
            Unique names of the training tasks; a task's position is its `task_id`.
        code_length (`int`, defaults to 10): Integers per task code (N), and prompt vectors per input.
        codebook_size (`int`, defaults to 128): Values that each integer may take (C), and vectors in the code table.
        task_embedding_dim (`int`, *optional*, defaults to the language model's width): Width of a task embedding.
        code_dim (`int`, *optional*, defaults to the language model's width): Width of a code vector.
        commitment_cost (`float`, defaults to 0.1): Weight of the commitment loss within the vq loss.
        added_task_codes (`dict[str, list[int]]`, *optional*): Codes of further tasks, found by a search, by name.
        tuned_tasks (`list[str]`, *optional*):
            Names of the tasks that have prompt vectors of their own instead of a code; the vectors are in the weights.
        task_details (`dict[str, dict]`, *optional*):
            What is known about tasks beside their code (answers, template, ...), by name; fields of [`TaskDetails`].
        code_position (`str`, defaults to `"prefix"`):
            Where prompt vectors stand in a decoder-only model: in front of the text, or, with `"suffix"`, behind it.
        default_task (`str`, *optional*): Name of the task to use when a call names none.
        training_stages (`list[dict]`, *optional*): Settings of the training runs behind the weights, for the model card.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    model_type = "ctr"
    sub_configs = {"text_config": AutoConfig}
    keys_to_ignore_at_inference = [
        "past_key_values",
        "encoder_last_hidden_state",
        "encoder_hidden_states",
        "decoder_hidden_states",
        "lm_loss",
        "vq_loss",
        "task_codes",
    ]

    text_config: PreTrainedConfig | dict[str, Any] | None = None
    num_tasks: int | None = None
    task_names: list[str] | None = None
    code_length: int = 10
    codebook_size: int = 128
    task_embedding_dim: int | None = None
    code_dim: int | None = None
    commitment_cost: float | int = 0.1
    code_position: str = "prefix"
    added_task_codes: dict[str, list[int]] | None = None
    tuned_tasks: list[str] | None = None
    task_details: dict[str, dict[str, Any]] | None = None
    default_task: str | None = None
    training_stages: list[dict[str, Any]] | None = None

    is_encoder_decoder: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.text_config is None:
            self.text_config = {}
        if isinstance(self.text_config, dict):
            values = dict(self.text_config)
            self.text_config = AutoConfig.for_model(values.pop("model_type", "t5"), **values)
        self.is_encoder_decoder = self.text_config.is_encoder_decoder
        self._check_backbone()
        self.text_config.name_or_path = public_name(self.text_config.name_or_path)  # is saved and shared

        # Generation reads special tokens from the outer config.
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(self.text_config, name, None))
        if not self.is_encoder_decoder and self.pad_token_id is None:  # most have none: ends fill up batches, masked
            ends = self.eos_token_id
            self.pad_token_id = ends[0] if isinstance(ends, list) else ends
        if self.is_encoder_decoder and self.decoder_start_token_id is None:
            # A T5 config made by hand may leave it out: it starts with padding. T5Gemma's always do.
            starts_with_bos = self.text_config.model_type in ("t5gemma", "t5gemma2")
            self.decoder_start_token_id = self.bos_token_id if starts_with_bos else self.pad_token_id
            self.text_config.decoder_start_token_id = self.decoder_start_token_id

        if self.num_tasks is None:
            self.num_tasks = len(self.task_names) if self.task_names is not None else 1
        if self.task_names is None:
            self.task_names = [f"task_{i}" for i in range(self.num_tasks)]
        if self.task_embedding_dim is None:
            self.task_embedding_dim = self.prompt_dim
        if self.code_dim is None:
            self.code_dim = self.prompt_dim
        if self.added_task_codes is None:
            self.added_task_codes = {}
        if self.tuned_tasks is None:
            self.tuned_tasks = []
        if self.task_details is None:
            self.task_details = {}
        self._check_ranges()
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As in transformers; the config of a plain language model is wrapped where the tasks to make room for are given.

        Raises:
            ValueError: It is such a config, with neither `task_names` nor `num_tasks` beside it; or a field has a wrong
                type or is out of its range.
        """
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            if kwargs.get("task_names") is None and kwargs.get("num_tasks") is None:
                raise ValueError(
                    f"This is the config of a '{model_type}' model, not of a CTR model; to put a task codebook on a "
                    "language model call `from_backbone(name_or_path, task_names=[...])` of the CTR model's class."
                )
            own = {name: kwargs.pop(name) for name in list(kwargs) if name in cls.own_fields()}
            config_dict = {"text_config": config_dict, **own}
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:
            raise ValueError(f"The config of the CTR model is wrong: {shorten(str(error), 400)}") from error

    @classmethod
    def own_fields(cls) -> set[str]:
        """Get the names of the fields that other models' configs do not have."""
        return {field.name for field in fields(cls)} - {field.name for field in fields(PreTrainedConfig)}

    @property
    def prompt_dim(self) -> int:
        """Width of a prompt vector: that of the language model's word embeddings."""
        encoder = getattr(self.text_config, "encoder", None)  # T5Gemma's, which has a config of its own
        config = (encoder if isinstance(encoder, PreTrainedConfig) else self.text_config).get_text_config()
        return getattr(config, "word_embed_proj_dim", None) or config.hidden_size  # of OPT, which projects them

    def codes_by_name(self, task_codes: list[list[int]]) -> dict[str, list[int]]:
        """Name the codes of all tasks that have one: the training tasks', which are given in their order, then the added."""
        return dict(zip(self.task_names, task_codes, strict=True)) | self.added_task_codes

    def _check_backbone(self) -> None:
        if self.code_position not in ("prefix", "suffix"):
            raise ValueError(f"`code_position` must be 'prefix' or 'suffix', but is '{self.code_position}'.")
        if not self.is_encoder_decoder:
            if type(self.text_config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
                raise ValueError(
                    f"`text_config` has model type '{self.text_config.model_type}', which CTR cannot wrap: transformers "
                    "has no language model of that type."
                )
            return
        if self.code_position != "prefix":
            raise ValueError("`code_position` must be 'prefix' for an encoder-decoder: its encoder reads both ways.")
        if self.text_config.model_type not in SUPPORTED_BACKBONES:
            reason = (
                "its encoder is not known to treat `inputs_embeds` exactly as `input_ids`, so prompt vectors in front of "
                "them could be silently wrong"
            )
            if self.text_config.model_type in STARTS_WITH_THE_LAST:
                reason = (
                    "its decoder starts with the last token of each answer, a language's code, where all answers that are "
                    "compared must start alike"
                )
            raise ValueError(
                f"`text_config` has model type '{self.text_config.model_type}', which CTR cannot wrap: {reason}; "
                f"supported are {', '.join(SUPPORTED_BACKBONES)}, and decoder-only models."
            )

        if self.text_config.model_type == "umt5" and Version(__version__) < Version("5.18"):
            raise ValueError(
                f"UMT5 is wrong in transformers {__version__}: its decoder sees the tokens that it is to predict; "
                "install transformers 5.18 or newer."
            )

    def _check_ranges(self) -> None:
        for name in ("num_tasks", "code_length", "codebook_size", "task_embedding_dim", "code_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")
        if self.commitment_cost < 0:
            raise ValueError(f"`commitment_cost` must not be negative, but is {self.commitment_cost}.")
        if len(self.task_names) != self.num_tasks:
            raise ValueError(f"`task_names` has {len(self.task_names)} names, but `num_tasks` is {self.num_tasks}.")
        seen: set[str] = set()
        for name in [*self.task_names, *self.added_task_codes, *self.tuned_tasks]:
            if not name.strip():
                raise ValueError("`task_names`, `added_task_codes` and `tuned_tasks` must not hold an empty name.")
            if name in seen:
                raise ValueError(
                    f"`task_names`, `added_task_codes` and `tuned_tasks` must be unique, but '{name}' appears twice."
                )
            seen.add(name)
        for name, code in self.added_task_codes.items():
            check_codes(code, self.code_length, self.codebook_size, f"`added_task_codes['{name}']`")
        for name, details in self.task_details.items():
            if name not in seen:
                raise ValueError(f"`task_details` has details of '{name}', which is not the name of any task.")
            TaskDetails.from_dict(details, f"`task_details['{name}']`")
        if self.default_task is not None and self.default_task not in seen:
            raise ValueError(f"`default_task` is '{self.default_task}', which is not the name of any task.")


__all__ = ["CTRConfig"]
