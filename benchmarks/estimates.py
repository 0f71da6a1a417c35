"""What training needs and how long it takes, for language models that are too large to try: a table from their shapes.

    python benchmarks/estimates.py                              # T5-large, 3B and 11B on eight 80 GB GPUs
    python benchmarks/estimates.py --shapes large --gpus 1 --mfu 0.3

Nothing is measured on a GPU and no weights are made: models are built of fake tensors, which have shapes but no data.

- Weights, gradients and AdamW's two states: counted parameters x bytes. Stage 1 holds the frozen language model in bf16
  (`--dtype bfloat16`) and 16 bytes per parameter of the codebook; stage 2 16 bytes per parameter, and the bf16 copies
  that autocast keeps during a step.
- Activations: what a forward pass under bf16 autocast keeps for the backward pass, summed at the full shape, for two
  examples less that for one. Attention is taken to keep its probabilities, as PyTorch does on the CPU; memory-efficient
  attention on a GPU keeps less.
- Time: operations in products with weights (see `trainers.throughput.count_token_flops`) x tokens / (the maker's peak x an
  *assumed* utilisation). It leaves out loading, logging and evaluation.
"""

import argparse
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from t5_shapes import make_t5_config
from torch._subclasses.fake_tensor import FakeTensorMode
from training_variants import CODE_LENGTH, NUM_TASKS

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from trainers import CTRTrainingArguments, freeze_for_stage
from trainers.throughput import PEAK_FLOPS, count_token_flops

# Examples of the paper's two stages: 10,000 steps of 2,048 and of 1,024.
EXAMPLES = {1: 10_000 * 2048, 2: 10_000 * 1024}
# Of a GPU's memory, what is left for a model after the CUDA context, buffers and fragmentation.
USABLE = 0.9


@dataclass
class Estimate:
    """Bytes, and operations of one example."""

    parameters: int
    states: int  # weights, gradients, AdamW
    copies: int  # of weights in bf16, during a step
    activations: int  # of one example
    flops: int


def build(shape: str, stage: int) -> CTRForConditionalGeneration:
    """A model as the stage trains it."""
    config = CTRConfig(text_config=make_t5_config(shape), num_tasks=NUM_TASKS, code_length=CODE_LENGTH)
    # Made in its dtype, since fake tensors cannot be converted in place; the codebook is in float32 all the same.
    torch.set_default_dtype(torch.bfloat16 if stage == 1 else torch.float32)
    try:
        model = CTRForConditionalGeneration(config).train()
    finally:
        torch.set_default_dtype(torch.float32)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.empty_like(head.weight))  # v1.1's differs from the embeddings
    freeze_for_stage(model, CTRTrainingArguments(stage=stage, report_to="none"))
    return model


def kept_for_backward(model: CTRForConditionalGeneration, batch_size: int, source: int, target: int) -> int:
    """Bytes, besides weights, that a forward pass of the language model keeps; works on fake tensors as on real ones."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    shape = (batch_size, source + CODE_LENGTH)
    width = model.config.text_config.d_model
    embeddings = torch.zeros(*shape, width, requires_grad=True, dtype=model.backbone.dtype)
    labels = torch.ones(batch_size, target, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        # Not through the codebook, whose share is small and whose checks look at the task ids.
        model.backbone(inputs_embeds=embeddings, attention_mask=torch.ones(shape, dtype=torch.long), labels=labels)
    return sum(storage.nbytes() for storage in kept.values())


def estimate(shape: str, stage: int, source: int, target: int, fake: bool = True) -> Estimate:
    """What one stage needs for a shape of `t5_shapes.SHAPES`; `source` and `target` are tokens of an example."""
    with FakeTensorMode() if fake else nullcontext():
        model = build(shape, stage)
        one, two = (kept_for_backward(model, batch_size, source, target) for batch_size in (1, 2))
        source_flops, target_flops = count_token_flops(model)
        parameters = list(model.parameters())
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        return Estimate(
            parameters=sum(p.numel() for p in parameters),
            states=sum(p.numel() * p.element_size() for p in parameters) + 12 * trained,
            copies=2 * one - two,
            activations=two - one,
            flops=source_flops * (source + CODE_LENGTH) + target_flops * target,
        )


def row(shape: str, stage: int, args: argparse.Namespace) -> str:
    need = estimate(shape, stage, args.source_length, args.target_length)
    room = USABLE * args.gpu_memory * 2**30
    whole = int((room - need.states - need.copies) // need.activations)
    # Spread over all GPUs; each gathers one layer at a time, which is little next to the rest.
    sharded = int((room - need.states / args.gpus) // need.activations)
    fits = f"{whole}" if whole > 0 else f"no; {max(sharded, 0)} sharded over {args.gpus}"
    tokens = args.mean_source_length + CODE_LENGTH + args.mean_target_length
    per_example = need.flops * tokens / (args.source_length + CODE_LENGTH + args.target_length)
    hours = EXAMPLES[stage] * per_example / (args.gpus * args.mfu * PEAK_FLOPS[args.gpu]) / 3600
    return (
        f"| {shape} | {stage} | {need.parameters / 1e9:.2f} | {need.states / 2**30:.1f} | {need.copies / 2**30:.1f} "
        f"| {need.activations / 2**30:.2f} | {fits} | {hours:.2g} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["large", "3b", "11b"])
    parser.add_argument("--source_length", type=int, default=384, help="of the longest, for memory")
    parser.add_argument("--target_length", type=int, default=32)
    parser.add_argument("--mean_source_length", type=int, default=200, help="padding included, for time")
    parser.add_argument("--mean_target_length", type=int, default=16)
    parser.add_argument("--gpu", choices=PEAK_FLOPS, default="A100")
    parser.add_argument("--gpu_memory", type=float, default=80, help="GiB")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--mfu", type=float, default=0.4)
    args = parser.parse_args()
    print("| shape | stage | parameters (G) | states (GiB) | bf16 copies (GiB) | GiB an example | ", end="")
    print(f"examples on a GPU of {args.gpu_memory:g} GiB | hours on {args.gpus} x {args.gpu} |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in args.shapes:
        for stage in (1, 2):
            print(row(shape, stage, args), flush=True)


if __name__ == "__main__":
    main()
