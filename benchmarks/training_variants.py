"""The models whose training steps are compared: each with its optimizer and a batch of random tokens."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from causal_shapes import make_llama_config
from peft import MultitaskPromptTuningConfig, PromptTuningConfig, TaskType, get_peft_model
from t5_shapes import make_t5_config
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedConfig, T5ForConditionalGeneration

from modeling_ctr import CTRConfig, get_model_class
from trainers import CTRTrainingArguments, freeze_for_stage
from trainers.optimization import get_parameter_groups
from trainers.throughput import count_batch_flops, count_token_flops

NUM_TASKS, CODE_LENGTH = 318, 10


@dataclass
class Variant:
    """A model, its optimizer, and the batch that it is trained on."""

    name: str
    model: nn.Module
    batch: dict[str, Any]
    optimizer: torch.optim.Optimizer
    prompt_length: int = CODE_LENGTH
    use_cache: bool | None = None
    seconds: list[float] = field(default_factory=list)
    memory: int = 0

    def step(self, device: torch.device, dtype: torch.dtype) -> None:
        """One optimizer step, as the Trainer does it."""
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = self.model(**self.batch, use_cache=self.use_cache).loss
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def count_flops(self) -> int:
        """Count a step's operations in products with weights.

        The labels of a decoder-only model are no tokens of their own, and tokens without logits do not reach the head.
        """
        batch = self.batch
        if self.model.config.is_encoder_decoder:
            return count_batch_flops(batch, *count_token_flops(self.model), self.prompt_length)
        row = batch | {"labels": batch["labels"][:, :0]}
        flops = count_batch_flops(row, *count_token_flops(self.model), self.prompt_length)
        kept = batch.get("logits_to_keep", batch["input_ids"].shape[1])
        head = self.model.get_output_embeddings().weight
        of_head = (6 if head.requires_grad else 4) * head.numel()
        return flops - of_head * batch["input_ids"][:, kept:].numel()


class VariantMaker:
    """Make models of one language model's shape, all of which read as many tokens.

    Args:
        args: `shape`, `dtype`, `batch_size`, `source_length`, `target_length` and `decoder_only` of the command line.
        device: Device of the models and batches.
    """

    def __init__(self, args: argparse.Namespace, device: torch.device):
        self.args, self.device = args, device
        self.generator = torch.Generator().manual_seed(0)
        self.tasks = torch.randint(0, NUM_TASKS, (args.batch_size,), generator=self.generator)

    def make_text_config(self) -> PreTrainedConfig:
        return (make_llama_config if self.args.decoder_only else make_t5_config)(self.args.shape)

    def make_language_model(self) -> nn.Module:
        kind = LlamaForCausalLM if self.args.decoder_only else T5ForConditionalGeneration
        return kind(self.make_text_config()).to(self.device)

    def make_batch(self, source_length: int, **tasks: torch.Tensor) -> dict[str, torch.Tensor]:
        args, vocab_size = self.args, min(32000, self.make_text_config().vocab_size)
        length = source_length + (args.target_length if args.decoder_only else 0)
        ids = torch.randint(2, vocab_size, (args.batch_size, length), generator=self.generator)
        if args.decoder_only:  # one row of text and answer
            labels = ids.clone()
            labels[:, :source_length] = -100
        else:
            labels = torch.randint(2, vocab_size, (args.batch_size, args.target_length), generator=self.generator)
        tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, **tasks}
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def make_plain(self) -> Variant:
        """Plain fine-tuning, of as many more text tokens as the others have prompt vectors."""
        model = self.make_language_model().train()
        longer = self.make_batch(self.args.source_length + CODE_LENGTH)
        name = "plain LM" if self.args.decoder_only else "plain T5"
        return Variant(name, model, longer, make_adamw(model.parameters()), prompt_length=0)

    def make_ctr(self, stage: int, code_position: str | None = None) -> Variant:
        """CTR as its trainer runs it: no cache of keys and values, decoder-only logits for answers alone.

        Args:
            stage: 1 or 2.
            code_position: Where the code stands, for decoder-only models.
        """
        position = {} if code_position is None else {"code_position": code_position}
        config = CTRConfig(
            text_config=self.make_text_config(), num_tasks=NUM_TASKS, code_length=CODE_LENGTH, **position
        )
        model = get_model_class(config)(config).to(self.device).train()
        settings = CTRTrainingArguments(stage=stage, report_to="none")
        freeze_for_stage(model, settings)
        if stage == 1 and self.args.dtype == "bfloat16":
            model.backbone.to(torch.bfloat16)
        decayed = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
        groups = get_parameter_groups(model, settings, decayed)
        tasked: dict[str, Any] = self.make_batch(self.args.source_length, task_id=self.tasks)
        if self.args.decoder_only:
            tasked["logits_to_keep"] = self.args.target_length + 1
        name = f"CTR stage {stage}" + (f", {code_position}" if code_position else "")
        return Variant(name, model, tasked, make_adamw(groups), use_cache=False)

    def make_peft(self, name: str, config: PromptTuningConfig) -> Variant:
        """A frozen language model, in half precision where that is asked for, behind prompts of peft."""
        model = self.make_language_model()
        if self.args.dtype == "bfloat16":
            model.to(torch.bfloat16)
        model = get_peft_model(model, config).train()
        extra = {"task_ids": self.tasks} if isinstance(config, MultitaskPromptTuningConfig) else {}
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return Variant(name, model, self.make_batch(self.args.source_length, **extra), make_adamw(parameters))


def make_adamw(parameters) -> torch.optim.Optimizer:
    """Make the Trainer's optimizer."""
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def get_variants(args: argparse.Namespace, device: torch.device) -> list[Callable[[], Variant]]:
    """Return what makes each variant; the first is the one that the others are compared with."""
    maker = VariantMaker(args, device)
    kind = TaskType.CAUSAL_LM if args.decoder_only else TaskType.SEQ_2_SEQ_LM
    common = {"task_type": kind, "num_virtual_tokens": CODE_LENGTH}
    positions = ("prefix", "suffix") if args.decoder_only else (None,)
    ctr = [lambda s=stage, p=position: maker.make_ctr(s, p) for stage in (2, 1) for position in positions]
    made = [maker.make_plain, *ctr, lambda: maker.make_peft("peft prompt tuning", PromptTuningConfig(**common))]
    if not args.decoder_only:  # peft's multitask prompt tuning is beside T5 alone
        multitask = MultitaskPromptTuningConfig(num_tasks=NUM_TASKS, num_ranks=1, **common)
        made.append(lambda: maker.make_peft("peft multitask prompt tuning", multitask))
    return made
