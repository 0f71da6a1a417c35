"""What a training step of CTR costs, next to plain fine-tuning and to peft's prompt tuning, in one run.

    python benchmarks/training_step.py                                     # CPU, T5-small's shape
    python benchmarks/training_step.py --device cuda --shape large --dtype bfloat16 --batch_size 32 --source_length 246 \
        --repetitions 20 --profile                                         # a GPU, 8,192 source tokens a step
    python benchmarks/training_step.py --decoder_only                      # a small Llama; codes before and behind the text

All variants see the same number of tokens (plain T5 as many more source tokens as the others have prompt vectors), with
the same optimizer, the Trainer's, and gradient clipping. As when training, CTR is not asked for a cache of keys and
values (`MultitaskTrainer`); for the others the model decides (`Seq2SeqTrainer`). Where the device's peak is known, model
FLOPs utilisation (MFU) counts the products with weights, and neither attention's own products nor anything that is
computed twice. Repetitions are interleaved; times are medians. On the CPU time is CPU time of this process, with one
thread, which other processes disturb little. Memory is what a step needs beyond the weights: on CUDA the peak of the
allocator; on the CPU, where there is no such count, bytes kept for the backward pass, gradients and optimizer state
together.

A decoder-only model reads text, code and answer as one row; its loss is on the answer alone. CTR computes logits where
the answer is, as its trainer has it; the others, whose loss takes as many logits as tokens, compute them everywhere, and
the products that this saves are left out of CTR's MFU.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import causal_shapes
import t5_shapes
import torch
from torch.profiler import ProfilerActivity, profile
from training_variants import CODE_LENGTH, Variant, get_variants

from trainers.throughput import get_peak_flops


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


def get_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder_only", action="store_true", help="Llama's shapes instead of T5's")
    parser.add_argument(
        "--shape", choices=[*t5_shapes.SHAPES, *causal_shapes.SHAPES.keys() - t5_shapes.SHAPES.keys()], default="small"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--source_length", type=int, default=118)
    parser.add_argument("--target_length", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="all variants with torch.compile")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes, of every variant")
    parser.add_argument("--output", type=Path, help="write the numbers there as JSON")
    args = parser.parse_args(argv)
    shapes = (causal_shapes if args.decoder_only else t5_shapes).SHAPES
    if args.shape not in shapes:
        parser.error(f"--shape {args.shape} is of the other kind of language model; choose from {', '.join(shapes)}.")
    return args


def measure(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> list[Variant]:
    """Make all variants and run them in turn."""
    made = [make() for make in get_variants(args, device)]
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
    return made


def get_numbers(made: list[Variant], peak: float | None) -> dict[str, dict[str, object]]:
    """Return seconds, memory and, where the device's `peak` is known, utilisation, by the variants' names."""
    numbers: dict[str, dict[str, object]] = {}
    for variant in made:
        seconds = statistics.median(variant.seconds)
        numbers[variant.name] = {
            "seconds": seconds,
            "all_seconds": variant.seconds,
            "time_ratio": seconds / statistics.median(made[0].seconds),
            "bytes": variant.memory,
            "memory_ratio": variant.memory / made[0].memory,
            "mfu": None if peak is None else variant.count_flops() / seconds / peak,
        }
    return numbers


def print_table(args: argparse.Namespace, machine: str, numbers: dict[str, dict]) -> None:
    kind = "Llama" if args.decoder_only else "T5"
    print(
        f"{kind}-{args.shape} shape, {args.dtype}, {args.batch_size} x ({args.source_length} + {CODE_LENGTH}) source and"
    )
    print(f"{args.target_length} target tokens; {machine}; torch {version('torch')}, ", end="")
    print(f"transformers {version('transformers')}, peft {version('peft')}", end="")
    print(f"{', compiled' if args.compile else ''}; medians of {args.repetitions}\n")
    base = next(iter(numbers))
    with_mfu = numbers[base]["mfu"] is not None
    print(f"| | seconds a step (min to max) | time / {base} | MiB beyond the weights | memory / {base} |", end="")
    print(" MFU |\n|---|---|---|---|---|---|" if with_mfu else "\n|---|---|---|---|---|")
    for name, found in numbers.items():
        print(
            f"| {name} | {found['seconds']:.3f} ({min(found['all_seconds']):.3f} to {max(found['all_seconds']):.3f}) "
            f"| {found['time_ratio']:.3f} | {found['bytes'] / 2**20:.0f} | {found['memory_ratio']:.3f} |"
            + (f" {found['mfu']:.1%} |" if with_mfu else "")
        )


def main(argv: list[str] | None = None) -> None:
    args = get_arguments(argv)
    warnings.simplefilter("ignore")
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = measure(args, device, dtype)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU, 1 thread"
    numbers = get_numbers(made, get_peak_flops(device))
    print_table(args, machine, numbers)
    if args.output:
        found = {"arguments": vars(args) | {"output": str(args.output)}, "machine": machine, "variants": numbers}
        args.output.write_text(json.dumps(found, indent=1))
    if args.profile:
        for variant in made:
            print_profile(variant, device, dtype)


if __name__ == "__main__":
    main()
