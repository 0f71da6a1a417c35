"""Prompt vectors as a peft adapter, and where they may start."""

import os
import shutil
from pathlib import Path

import torch
from peft import PromptTuningConfig, TaskType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from modeling_ctr.checkpoint_name import public_name

from .scoring.language_models import get_language_model
from .scoring.processes import is_main_process

# peft's names
ADAPTER_WEIGHTS, ADAPTER_TENSOR = "adapter_model.safetensors", "prompt_embeddings"


def vocabulary_prompt(model: PreTrainedModel, length: int, seed: int) -> torch.Tensor:
    """Draw a random start `(length, width)`: the embeddings of words drawn at random, as peft's SAMPLE_VOCAB."""
    embeddings = model.get_input_embeddings().weight
    words = torch.randint(len(embeddings), (length,), generator=torch.Generator().manual_seed(seed))
    return embeddings.detach()[words.to(embeddings.device)].float().cpu()


def save_prompt_adapter(vectors: torch.Tensor, model: PreTrainedModel, folder: str | os.PathLike) -> None:
    """Write prompt vectors `(prompt_length, width)` as a peft prompt-tuning adapter, from the main process.

    `PeftModel.from_pretrained(language_model, folder)` loads it, where `language_model` is the one that the vectors
    were tuned for: `model.backbone` of a CTR model. peft puts vectors in front of all else, so that with a decoder-only
    model texts must do without a bos token there; and where the vectors stand behind the text, only
    [`load_prompt_adapter`] reads them: peft's config is left out. Files are written aside first: an adapter that was
    there stays whole until the new one is.
    """
    if not is_main_process():
        return
    folder = Path(folder)
    aside = folder / ".new"  # one name, so that what a killed run left is written over by the next
    aside.mkdir(parents=True, exist_ok=True)
    try:
        if getattr(model.config, "code_position", "prefix") == "prefix":
            _get_peft_config(vectors, model).save_pretrained(str(aside))
        save_file({ADAPTER_TENSOR: vectors.detach().float().cpu().contiguous()}, aside / ADAPTER_WEIGHTS)
        for file in sorted(aside.iterdir()):  # the config, then the weights: who finds weights finds all
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(aside)


def _get_peft_config(vectors: torch.Tensor, model: PreTrainedModel) -> PromptTuningConfig:
    language_model = get_language_model(model)
    text_config = language_model.config.get_text_config()
    is_encoder_decoder = language_model.config.is_encoder_decoder
    return PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM if is_encoder_decoder else TaskType.CAUSAL_LM,
        num_virtual_tokens=len(vectors),
        token_dim=vectors.shape[1],
        num_transformer_submodules=1,  # in front of the encoder's input only, if there is one
        num_attention_heads=text_config.num_attention_heads,
        num_layers=text_config.num_hidden_layers,
        base_model_name_or_path=public_name(model.name_or_path),
        inference_mode=True,
    )


def load_prompt_adapter(folder: str | os.PathLike) -> torch.Tensor:
    """Load the prompt vectors `(prompt_length, width)` of a peft prompt-tuning adapter, float32, on the CPU.

    Raises:
        ValueError: The folder holds no such adapter, or a damaged one.
    """
    path = Path(folder) / ADAPTER_WEIGHTS
    try:
        tensors = load_file(path) if path.is_file() else {}
    except SafetensorError as error:
        raise ValueError(f"'{path}' is damaged ({error}): tune the prompt again.") from error
    if ADAPTER_TENSOR not in tensors:
        raise ValueError(
            f"'{folder}' holds no prompt-tuning adapter of peft ('{ADAPTER_TENSOR}' in {ADAPTER_WEIGHTS})."
        )
    return tensors[ADAPTER_TENSOR].float()
