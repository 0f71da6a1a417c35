"""The CTR model to export and its tokenizer, read and checked."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from modeling_ctr import CTRPreTrainedModel, load_model
from modeling_ctr.hub_errors import loading_errors
from modeling_ctr.task_arguments import find_task

logger = logging.get_logger(__name__)


def load_parts(
    model: CTRPreTrainedModel | str | os.PathLike,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    dtype: str | torch.dtype = "auto",
    **hub_options: Any,
) -> tuple[CTRPreTrainedModel, PreTrainedTokenizerBase]:
    """Load a CTR model and its tokenizer, where they are given by name.

    Args:
        model: CTR model, or its folder or name on the Hub.
        tokenizer: Tokenizer of a model that is given as such.
        dtype: Type that the weights are loaded in.
        hub_options: `token`, `revision` and `cache_dir`.

    Raises:
        OSError: One of them cannot be read.
        ValueError: A model is given without its tokenizer, is quantized or has an adapter.
    """
    if isinstance(model, CTRPreTrainedModel):
        if tokenizer is None:
            raise ValueError("A model that is loaded already needs its tokenizer, too: give `tokenizer`.")
    else:
        tokenizer = tokenizer or load_tokenizer(model, **hub_options)
        model = load_model(model, dtype=dtype, **hub_options)
    if getattr(model, "is_quantized", False):
        raise ValueError("A quantized model cannot be exported: load it without a `quantization_config`.")
    if model._hf_peft_config_loaded:
        raise ValueError("The model has an adapter beside its weights: merge it into them, and export what you get.")
    return model, tokenizer


def load_tokenizer(name_or_path: str | os.PathLike, **hub_options: Any) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer. Raises an OSError of one sentence where it has none."""
    try:
        with loading_errors(name_or_path):
            return AutoTokenizer.from_pretrained(name_or_path, **hub_options)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.__cause__ is not None:
            raise
        raise OSError(
            f"'{name_or_path}' has no tokenizer that can be loaded: save it beside the model, or give `tokenizer`."
        ) from error


def select_names(model: CTRPreTrainedModel, tasks: Sequence[str] | None) -> list[str]:
    """Return the names of the tasks to export, by default of all.

    Raises:
        ValueError: There is none, or the model has no such task.
    """
    names = model.task_names if tasks is None else list(dict.fromkeys(tasks))
    if not names:
        raise ValueError("`tasks` is empty: name at least one, or leave it out to export all.")
    for name in names:
        find_task(name, model.task_names)
    return names


@torch.no_grad()
def get_prompt_vectors(model: CTRPreTrainedModel, tuned: Sequence[str]) -> torch.Tensor:
    """Return the prompt vectors of all values of a code, and behind them those of tuned tasks.

    Returns:
        `(codebook_size + len(tuned) * code_length, width)`, float32.
    """
    values = torch.arange(model.config.codebook_size, device=model.task_codebook.code_vectors.weight.device)
    vectors = [model.task_codebook.decode(values[None])[0], *(model.get_task_vectors(name) for name in tuned)]
    return torch.cat([part.detach().float() for part in vectors])


def describe_task(model: CTRPreTrainedModel, name: str) -> dict[str, Any]:
    """Get what is known of a task, and warn where an exported model will write the wrong word for it."""
    details = model.task_details(name)
    if details.temperature is not None and details.temperature < 0:
        logger.warning(
            f"The calibration of the task '{name}' exchanges its two answers, and an exported model knows nothing of it: where "
            f"it writes {details.answers[0]!r}, take it for {details.answers[1]!r}, and the other way round."
        )
    return details.to_dict()
