"""CTR models of either kind, from a checkpoint or from what another loader made of one."""

import copy
import os
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from modeling_ctr import CTRConfig, CTRPreTrainedModel, get_model_class, load_model

HUB_ARGUMENTS = ("revision", "token", "cache_dir", "local_files_only")


def load_model_and_tokenizer(
    name_or_path: str | os.PathLike, **kwargs: Any
) -> tuple[CTRPreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a folder or the Hub, onto the accelerator if there is one.

    Args:
        name_or_path: Folder, or name on the Hub.
        **kwargs: For the model's `from_pretrained`.

    Raises:
        OSError: There is no such folder, and the Hub did not give it.
        ValueError: It is no CTR model.
    """
    model = load_model(name_or_path, **kwargs)
    if "device_map" not in kwargs and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
    return model, AutoTokenizer.from_pretrained(name_or_path, **hub)


def to_own_class(model: PreTrainedModel) -> CTRPreTrainedModel:
    """The model in a class of this package, as one that its checkpoint's own code loaded (remote code) is not.

    Raises:
        ValueError: It is no CTR model.
    """
    if isinstance(model, CTRPreTrainedModel):
        return model
    if getattr(model.config, "model_type", None) != CTRConfig.model_type:
        raise ValueError(
            f"A {type(model).__name__} is no CTR model: train one, or load one with `TaskSolver.from_pretrained`."
        )
    config = CTRConfig.from_dict(model.config.to_dict())
    own = get_model_class(config).from_pretrained(None, config=config, state_dict=model.state_dict())
    return own.to(model.device)


def share_weights(model: CTRPreTrainedModel) -> CTRPreTrainedModel:
    """A model with the same weights, not copied, and tasks of its own from now on."""
    own = copy.copy(model)
    own.config = copy.deepcopy(model.config)
    own._buffers = dict(model._buffers)  # the vectors of tuned tasks are one of them
    return own
