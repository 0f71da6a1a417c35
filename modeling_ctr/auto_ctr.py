"""CTR models of either kind, by what their config says."""

from typing import Any

from transformers import PreTrainedConfig

from .configuration_ctr import CTRConfig
from .hub_errors import loading_errors
from .modeling_ctr import CTRForConditionalGeneration
from .modeling_ctr_causal import CTRForCausalLM
from .pretrained_ctr import HUB_ARGUMENTS, CTRPreTrainedModel


def get_model_class(config: PreTrainedConfig) -> type[CTRPreTrainedModel]:
    """Get the class for the config of a CTR model, or of the plain language model that is to become one."""
    return CTRForConditionalGeneration if config.is_encoder_decoder else CTRForCausalLM


def load_model(name_or_path: str, **kwargs: Any) -> CTRPreTrainedModel:
    """Load a CTR model, an encoder-decoder or decoder-only.

    Args:
        name_or_path: Folder, or name on the Hub.
        **kwargs: For `from_pretrained`, such as `dtype`, `device_map`, `revision` or `token`.

    Raises:
        OSError: There is no such folder, and the Hub did not give it; or the weight file is truncated or damaged.
        ValueError: It is no CTR model, or not whole.
    """
    with loading_errors(name_or_path):
        config = CTRConfig.from_pretrained(
            name_or_path, **{key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        )
    return get_model_class(config).from_pretrained(name_or_path, **kwargs)
