"""Compositional Task Representations: a language model whose tasks are codes."""

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from .auto_ctr import get_model_class, load_model
from .configuration_ctr import CTRConfig
from .find_task_codes import find_task_codes
from .modeling_ctr import CTRForConditionalGeneration, CTROutput
from .modeling_ctr_causal import CTRCausalOutput, CTRForCausalLM
from .pretrained_ctr import CTRPreTrainedModel
from .prompt_encoder import CTREncoder
from .task_code_file import TaskCode, load_task_code, push_task_code, save_task_code
from .task_details import TaskDetails

AutoConfig.register("ctr", CTRConfig)
AutoModelForSeq2SeqLM.register(CTRConfig, CTRForConditionalGeneration)
AutoModelForCausalLM.register(CTRConfig, CTRForCausalLM)
# A saved checkpoint carries these files along, so that it loads with `trust_remote_code=True` where this package is
# not installed.
CTRConfig.register_for_auto_class()
CTRForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")
CTRForCausalLM.register_for_auto_class("AutoModelForCausalLM")

__all__ = [
    "CTRCausalOutput",
    "CTRConfig",
    "CTREncoder",
    "CTRForCausalLM",
    "CTRForConditionalGeneration",
    "CTROutput",
    "CTRPreTrainedModel",
    "TaskCode",
    "TaskDetails",
    "find_task_codes",
    "get_model_class",
    "load_model",
    "load_task_code",
    "push_task_code",
    "save_task_code",
]
