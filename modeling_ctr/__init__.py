"""Compositional Task Representations: a seq2seq language model whose tasks are codes."""

from transformers import AutoConfig, AutoModelForSeq2SeqLM

from .configuration_ctr import CTRConfig
from .modeling_ctr import CTRForConditionalGeneration, CTROutput
from .pretrained_ctr import CTRPreTrainedModel
from .prompt_encoder import CTREncoder
from .task_code_file import TaskCode, load_task_code, push_task_code, save_task_code
from .task_details import TaskDetails

AutoConfig.register("ctr", CTRConfig)
AutoModelForSeq2SeqLM.register(CTRConfig, CTRForConditionalGeneration)
# A saved checkpoint carries these files along, so that it loads with `trust_remote_code=True` where this package is
# not installed.
CTRConfig.register_for_auto_class()
CTRForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")

__all__ = [
    "CTRConfig",
    "CTREncoder",
    "CTRForConditionalGeneration",
    "CTROutput",
    "CTRPreTrainedModel",
    "TaskCode",
    "TaskDetails",
    "load_task_code",
    "push_task_code",
    "save_task_code",
]
