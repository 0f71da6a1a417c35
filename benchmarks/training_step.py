"""What a training step of CTR costs, next to plain fine-tuning and to peft's prompt tuning, in one run.

    python benchmarks/training_step.py                                     # CPU, T5-small's shape
    python benchmarks/training_step.py --device cuda --shape large --dtype bfloat16 --batch_size 32 --source_length 246 \
        --repetitions 20 --profile                                         # a GPU, 8,192 source tokens a step

All variants see the same number of tokens (plain T5 as many more source tokens as the others have prompt vectors), with
the same optimizer, the Trainer's, and gradient clipping. As when training, CTR is not asked for a cache of keys and
values (`MultitaskTrainer`); for the others the model decides (`Seq2SeqTrainer`). Where the device's peak is known, model
FLOPs utilisation (MFU) counts the products with weights, and neither attention's own products nor anything that is
computed twice. Repetitions are interleaved; times are medians. On the CPU time is CPU time of this process, with one
thread, which other processes disturb little. Memory is what a step needs beyond the weights: on CUDA the peak of the
allocator; on the CPU, where there is no such count, bytes kept for the backward pass, gradients and optimizer state
together.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import torch
from peft import MultitaskPromptTuningConfig, PromptTuningConfig, TaskType, get_peft_model
from t5_shapes import SHAPES, make_t5_config
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import T5ForConditionalGeneration

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from trainers import CTRTrainingArguments, freeze_for_stage
from trainers.optimization import get_parameter_groups
from trainers.throughput import count_batch_flops, count_token_flops, get_peak_flops

NUM_TASKS, CODE_LENGTH = 318, 10


@dataclass
class Variant:
    """A model, its optimizer, and the batch that it is trained on."""

    name: str
    model: nn.Module
    batch: dict[str, torch.Tensor]
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


def variants(args: argparse.Namespace, device: torch.device) -> list[tuple[str, Callable[[], Variant]]]:
    """Names, and what makes each."""
    generator = torch.Generator().manual_seed(0)

    def batch(source_length: int, **tasks: torch.Tensor) -> dict[str, torch.Tensor]:
        shape = (args.batch_size, source_length)
        tensors = {
            "input_ids": torch.randint(2, 32000, shape, generator=generator),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "labels": torch.randint(2, 32000, (args.batch_size, args.target_length), generator=generator),
            **tasks,
        }
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    tasks = torch.randint(0, NUM_TASKS, (args.batch_size,), generator=generator)

    def adamw(parameters) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def plain() -> Variant:
        model = T5ForConditionalGeneration(make_t5_config(args.shape)).to(device).train()
        longer = batch(args.source_length + CODE_LENGTH)
        return Variant("plain T5", model, longer, adamw(model.parameters()), prompt_length=0)

    def ctr(stage: int) -> Variant:
        config = CTRConfig(text_config=make_t5_config(args.shape), num_tasks=NUM_TASKS, code_length=CODE_LENGTH)
        model = CTRForConditionalGeneration(config).to(device).train()
        settings = CTRTrainingArguments(stage=stage, report_to="none")
        freeze_for_stage(model, settings)
        if stage == 1 and args.dtype == "bfloat16":
            model.backbone.to(torch.bfloat16)
        decayed = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
        groups = get_parameter_groups(model, settings, decayed)
        tasked = batch(args.source_length, task_id=tasks)
        return Variant(f"CTR stage {stage}", model, tasked, adamw(groups), use_cache=False)

    def peft(name: str, config) -> Variant:
        model = T5ForConditionalGeneration(make_t5_config(args.shape)).to(device)
        if args.dtype == "bfloat16":
            model.to(torch.bfloat16)
        model = get_peft_model(model, config).train()
        extra = {"task_ids": tasks} if isinstance(config, MultitaskPromptTuningConfig) else {}
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return Variant(name, model, batch(args.source_length, **extra), adamw(parameters))

    common = {"task_type": TaskType.SEQ_2_SEQ_LM, "num_virtual_tokens": CODE_LENGTH}
    return [
        ("plain T5", plain),
        ("CTR stage 2", lambda: ctr(2)),
        ("CTR stage 1", lambda: ctr(1)),
        ("peft prompt tuning", lambda: peft("peft prompt tuning", PromptTuningConfig(**common))),
        (
            "peft multitask prompt tuning",
            lambda: peft(
                "peft multitask prompt tuning", MultitaskPromptTuningConfig(num_tasks=NUM_TASKS, num_ranks=1, **common)
            ),
        ),
    ]


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def memory_of_step(variant: Variant, device: torch.device, dtype: torch.dtype) -> int:
    """Bytes beyond the weights; the optimizer's state exists already."""
    if device.type == "cuda":
        before = sum(parameter.numel() * parameter.element_size() for parameter in variant.model.parameters())
        others = torch.cuda.memory_allocated(device) - before - optimizer_bytes(variant.optimizer)
        torch.cuda.reset_peak_memory_stats(device)
        variant.step(device, dtype)
        return torch.cuda.max_memory_allocated(device) - before - others
    weights = {parameter.untyped_storage().data_ptr() for parameter in variant.model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        variant.step(device, dtype)
    gradients = sum(p.numel() * p.element_size() for p in variant.model.parameters() if p.requires_grad)
    return sum(kept.values()) + gradients + optimizer_bytes(variant.optimizer)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def print_profile(variant: Variant, device: torch.device, dtype: torch.dtype) -> None:
    """Where the time of one step goes: the operations or kernels that take most of it."""
    activities, unit = [ProfilerActivity.CPU], "cpu"
    if device.type == "cuda":
        activities, unit = [*activities, ProfilerActivity.CUDA], "device"
    with profile(activities=activities) as profiled:
        variant.step(device, dtype)
    print(f"\nA step of {variant.name}:\n")
    print(profiled.key_averages().table(sort_by=f"self_{unit}_time_total", row_limit=20, max_name_column_width=80))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--source_length", type=int, default=118)
    parser.add_argument("--target_length", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="all variants with torch.compile")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes, of every variant")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    torch.manual_seed(0)
    torch.set_num_threads(1)

    made = [make() for _, make in variants(args, device)]
    for variant in made:
        if args.compile:
            variant.model.compile()
        variant.step(device, dtype)  # warms up, and makes the optimizer's state
        variant.memory = memory_of_step(variant, device, dtype)
    for _ in range(args.repetitions):
        for variant in made:
            start = clock(device)
            variant.step(device, dtype)
            variant.seconds.append(clock(device) - start)

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU, 1 thread"
    print(
        f"T5-{args.shape} shape, {args.dtype}, {args.batch_size} x ({args.source_length} + {CODE_LENGTH}) source and"
    )
    print(f"{args.target_length} target tokens; {name}; torch {version('torch')}, ", end="")
    print(f"transformers {version('transformers')}, peft {version('peft')}", end="")
    print(f"{', compiled' if args.compile else ''}; medians of {args.repetitions}\n")
    peak = get_peak_flops(device)
    utilisation = ("", "") if peak is None else (" MFU |", "---|")
    print("| | seconds a step (min to max) | time / plain T5 | MiB beyond the weights | memory / plain T5 |", end="")
    print(f"{utilisation[0]}\n|---|---|---|---|---|{utilisation[1]}")
    base = made[0]
    base_seconds = statistics.median(base.seconds)
    for variant in made:
        seconds = statistics.median(variant.seconds)
        print(
            f"| {variant.name} | {seconds:.3f} ({min(variant.seconds):.3f} to {max(variant.seconds):.3f}) "
            f"| {seconds / base_seconds:.3f} | {variant.memory / 2**20:.0f} | {variant.memory / base.memory:.3f} |",
            end="",
        )
        if peak is not None:
            flops = count_batch_flops(variant.batch, *count_token_flops(variant.model), variant.prompt_length)
            print(f" {flops / seconds / peak:.1%} |", end="")
        print()
    if args.profile:
        for variant in made:
            print_profile(variant, device, dtype)


if __name__ == "__main__":
    main()
