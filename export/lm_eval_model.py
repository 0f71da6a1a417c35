"""An exported model as lm-evaluation-harness has to see it: no probability for code tokens, and a head of its own.

The harness takes probabilities over all tokens that a head has, and ties a head to the word embedding again, which in T5 v1.1
and its like it is not. So the tables are written apart, to be loaded with `tie_word_embeddings=False`, and an adapter of peft
(LoRA of zeros with a bias) takes the code tokens away, where the language model has no bias of its own for it (BART).
"""

import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from export.exported_tasks import ExportedTasks
from export.plain_model import NEVER
from export.prefix_tokenizer import SAMPLES
from modeling_ctr import CTRPreTrainedModel

MASK_NAME = "code_token_mask"
# Greatest difference of log-probabilities, as a share of the greatest, in float32 and in half precision.
TOLERANCE, HALF_TOLERANCE = 1e-4, 0.05


def needs_mask(plain: PreTrainedModel) -> bool:
    """Tell whether code tokens have a share of the model's probabilities."""
    return not hasattr(plain, "final_logits_bias")


def untie(plain: PreTrainedModel) -> PreTrainedModel:
    """Copy a model with word embeddings and head as tables apart, and the scale of its outputs within the head."""
    config = copy.deepcopy(plain.config)
    state = {name: tensor.detach().clone() for name, tensor in plain.state_dict().items()}
    is_scaled = getattr(config, "scale_decoder_outputs", config.model_type == "umt5")
    if is_scaled:
        state[f"{_get_head_name(plain)}.weight"] *= config.d_model**-0.5
        config.scale_decoder_outputs = False
    config.tie_word_embeddings = False
    untied = type(plain).from_pretrained(None, config=config, state_dict=state, dtype=plain.dtype)
    untied.generation_config = copy.deepcopy(plain.generation_config)
    return untied.eval()


def write_mask(plain: PreTrainedModel, vocab_size: int, folder: Path) -> None:
    """Write the adapter that leaves the tokens from `vocab_size` on no probability."""
    name, head = _get_head_name(plain), plain.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[vocab_size:] = NEVER
    tensors = {
        "lora_A.weight": torch.zeros(1, head.in_features),
        "lora_B.weight": torch.zeros(head.out_features, 1),
        "lora_B.bias": bias,
    }
    folder.mkdir()
    LoraConfig(r=1, lora_alpha=1, target_modules=[name], lora_bias=True, inference_mode=True).save_pretrained(folder)
    named = {f"base_model.model.{name}.{part}": tensor for part, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def check_same_probabilities(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plain_class: type[PreTrainedModel],
    prefix_tokenizer: PreTrainedTokenizerBase,
    exported: ExportedTasks,
    folder: Path,
    mask: Path | None,
) -> None:
    """Raise a ValueError where the model, loaded as the harness loads it, gives other probabilities than the CTR model."""
    options: dict[str, Any] = {} if mask is None else {"tie_word_embeddings": False}
    loaded = plain_class.from_pretrained(folder, dtype="auto", **options).to(model.device)
    if mask is not None:
        loaded = PeftModel.from_pretrained(loaded, mask)
    loaded.eval()
    loaded.tie_weights()  # as the harness does
    extra = {}
    if model.config.is_encoder_decoder:
        extra["decoder_input_ids"] = torch.full((1, 1), model.config.decoder_start_token_id, device=model.device)
    name = next(iter(exported.tasks))
    ids = tokenizer(SAMPLES[0], return_tensors="pt")["input_ids"].to(model.device)
    ours = model(input_ids=ids, task=name, **extra).logits[0, -1].float().log_softmax(-1)
    ids = prefix_tokenizer(exported.join(name, SAMPLES[0]), return_tensors="pt")["input_ids"].to(model.device)
    theirs = loaded(input_ids=ids, **extra).logits[0, -1].float().log_softmax(-1)[: exported.vocab_size]
    error = ((ours - theirs).abs().max() / ours.abs().max()).item()
    if not error <= (TOLERANCE if model.backbone.dtype in (torch.float32, torch.float64) else HALF_TOLERANCE):
        raise ValueError(
            f"A {model.config.text_config.model_type} model cannot be exported for lm_eval: as it loads it, log-probabilities "
            f"differ by {error:.2g} of the largest."
        )


def _get_head_name(plain: PreTrainedModel) -> str:
    head = plain.get_output_embeddings()
    return next(name for name, module in plain.named_modules() if module is head)
