"""What a stage trains, at which rates, and how these move."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import get_wsd_schedule

from modeling_ctr import CTRPreTrainedModel
from trainers.training_args import CTRTrainingArguments

# The authors' schedule: 8,000 of 10,000 steps are warm-up and cosine, which ends at a tenth of the peak.
DECAY_SHARE, FINAL_RATE = 0.8, 0.1


def freeze_for_stage(model: CTRPreTrainedModel, args: CTRTrainingArguments) -> None:
    """Set what the stage trains: the codebook, and in stage 2 the language model.

    Where an adapter was added to the model peft has set that, and nothing but the adapter will be saved.
    """
    if model._hf_peft_config_loaded:
        return
    model.backbone.requires_grad_(args.stage == 2)
    model.task_codebook.requires_grad_(True)
    model.task_codebook.position_maps.requires_grad_(args.train_position_maps)


def get_parameter_groups(model: nn.Module, args: CTRTrainingArguments, decay_names: set[str]) -> list[dict[str, Any]]:
    """Return the optimizer's groups: by learning rate (queries or everything else) and by weight decay.

    Task embeddings and code vectors are not decayed: their lengths decide which code is nearest.

    Args:
        decay_names: Names of the parameters that weight decay is for otherwise.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_query = ".task_embedding." in f".{name}" or ".position_maps." in f".{name}"
        is_table = ".task_embedding." in f".{name}" or ".code_vectors." in f".{name}"
        rate = args.query_learning_rate if is_query else args.learning_rate
        decay = args.weight_decay if name in decay_names and not is_table else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def get_authors_schedule(optimizer: torch.optim.Optimizer, warmup_steps: int, training_steps: int) -> LambdaLR:
    """Make the paper's schedule: linear warm-up, cosine to a tenth of the peak at 80% of the steps, flat from there."""
    return get_wsd_schedule(
        optimizer,
        num_warmup_steps=warmup_steps,
        num_stable_steps=0,
        num_decay_steps=max(round(DECAY_SHARE * training_steps) - warmup_steps, 1),
        min_lr_ratio=FINAL_RATE,
    )
