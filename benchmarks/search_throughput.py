"""Codes per second: the original's procedure, ours, ours with pruning, and the limit, side by side in one run.

    python benchmarks/search_throughput.py                                   # CPU, T5-small shape
    python benchmarks/search_throughput.py --parts pruning                   # (c) alone
    python benchmarks/search_throughput.py --parts autocast compile          # (b) with these, beside plain (b)
    python benchmarks/search_throughput.py --shape large --device cuda --dtype bfloat16 --num_codes 256

Same model (random weights, or `--model`), same codes, same examples for all:

(a) the original's procedure: one code at a time, inputs padded to 384 and targets to 32 tokens, collated anew for
    every code;
(b) ours, every code on every example;
(c) ours with pruning, over a bitwise search from a given code, beside (b) over the same search: `--parts pruning`;
(d) the limit: the bare encoder and decoder on the same tokens, without padding, in ideal batches; nothing else.

A CPU computes in one thread and its seconds are those the processor spent on this process, so that other work on the
machine distorts little; a GPU's are seconds passed.
"""

import argparse
import json
import math
import platform
import random
import time
from collections.abc import Callable

import torch
import transformers
from scipy.stats import kendalltau
from t5_shapes import SHAPES, make_t5_config
from transformers.modeling_outputs import BaseModelOutput

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from search import BitwiseSearch, BitwiseSearchResult, CodeScorer, task_code_space

EOS = 1
SOURCE_LENGTH, TARGET_LENGTH, BATCH_SIZE = 384, 32, 32  # the original's


def make_model(arguments: argparse.Namespace) -> CTRForConditionalGeneration:
    torch.manual_seed(0)
    if arguments.model:
        model = CTRForConditionalGeneration.from_pretrained(arguments.model)
    else:
        words = {"vocab_size": 512} if arguments.shape == "tiny" else {}
        text_config = make_t5_config(arguments.shape, **words)
        model = CTRForConditionalGeneration(CTRConfig(text_config=text_config, num_tasks=30))
    # Codes of random weights hardly matter: spread them, so that a search has something to find.
    if not arguments.model:
        torch.nn.init.normal_(model.task_codebook.code_vectors.weight)
        torch.nn.init.normal_(model.task_codebook.prompt_decoder.weight, std=0.5)
    return model.to(arguments.device, getattr(torch, arguments.dtype)).eval()


def make_examples(count: int, vocab_size: int, num_choices: int) -> list[dict]:
    """Inputs of 20 to 120 tokens; choices of one to three tokens and the end token, as of a classification task."""
    draw = random.Random(0)
    words = lambda n: [draw.randrange(3, vocab_size) for _ in range(n)]  # noqa: E731
    choices = [[*words(1 + i % 3), EOS] for i in range(num_choices)]
    rows = []
    for _ in range(count):
        answer = draw.randrange(num_choices)
        inputs = [*words(draw.randint(19, 119)), EOS]
        rows.append({"input_ids": inputs, "labels": choices[answer], "choice_ids": choices, "answer": answer})
    return rows


@torch.inference_mode()
def original_procedure(model: CTRForConditionalGeneration, examples: list[dict], codes: torch.Tensor) -> list[float]:
    """Summed gold losses, computed as the authors' search scripts do."""
    losses = []
    for code in codes:
        total = 0.0
        for first in range(0, len(examples), BATCH_SIZE):
            rows = examples[first : first + BATCH_SIZE]
            batch = {
                "input_ids": torch.zeros(len(rows), SOURCE_LENGTH, dtype=torch.long),
                "attention_mask": torch.zeros(len(rows), SOURCE_LENGTH, dtype=torch.long),
                "labels": torch.zeros(len(rows), TARGET_LENGTH, dtype=torch.long),
            }
            mask = torch.zeros(len(rows), TARGET_LENGTH)
            for i, row in enumerate(rows):
                batch["input_ids"][i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
                batch["attention_mask"][i, : len(row["input_ids"])] = 1
                batch["labels"][i, : len(row["labels"])] = torch.tensor(row["labels"])
                mask[i, : len(row["labels"])] = 1
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            logits = model(**batch, task_code=code).logits.float()
            losses_of_tokens = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch["labels"].flatten(), reduction="none"
            )
            total += (losses_of_tokens * mask.flatten().to(model.device)).sum().item()
        losses.append(total)
    return losses


def ideal_batches(
    model: CTRForConditionalGeneration, examples: list[dict], num_codes: int, token_budget: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs of equal length with targets of equal length, filled up to the budget, as embeddings and ids.

    Lengths are those of the examples, reordered so that whatever can stand in one batch without padding does.
    """
    groups: dict[tuple[int, int], int] = {}
    for row in examples:
        key = (len(row["input_ids"]) + model.config.code_length, len(row["labels"]))
        groups[key] = groups.get(key, 0) + num_codes
    width, weight = model.config.text_config.hidden_size, model.get_input_embeddings().weight
    batches = []
    for (length, target_length), count in groups.items():
        rows = max(1, token_budget // length)
        while count:
            inputs = torch.randn(min(rows, count), length, width, device=weight.device).to(weight.dtype)
            targets = torch.zeros(min(rows, count), target_length, dtype=torch.long, device=weight.device)
            batches.append((inputs, targets))
            count -= min(rows, count)
    return batches


@torch.inference_mode()
def bare_passes(model: CTRForConditionalGeneration, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    encoder = model.backbone.get_encoder()
    for inputs, targets in batches:
        hidden = encoder(inputs_embeds=inputs)[0]
        model.backbone(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden), decoder_input_ids=targets, use_cache=False
        )


def timed(function: Callable[[], object], device: str) -> float:
    """Seconds; on a CPU those of the process."""
    if device == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def throughput(
    arguments: argparse.Namespace, model: CTRForConditionalGeneration, examples: list[dict], codes: torch.Tensor
) -> dict[str, object]:
    """(a), (b) and (d) on the same codes."""
    few = codes[: arguments.num_original_codes]
    device = model.device.type

    def scorer() -> CodeScorer:
        return CodeScorer(model, examples, token_budget=arguments.token_budget)

    batches = ideal_batches(model, examples, len(codes), scorer().prompt_scorer.token_budget)
    timed(lambda: scorer().gold_losses(codes[:2]), device)  # warm up
    timed(lambda: bare_passes(model, batches[:1]), device)
    ours, all_choices, limit = [], [], []
    for _ in range(arguments.rounds):
        ours.append(timed(lambda: scorer().gold_losses(codes), device) / len(codes))
        limit.append(timed(lambda: bare_passes(model, batches), device) / len(codes))
        all_choices.append(timed(lambda: scorer().choice_log_likelihoods(codes), device) / len(codes))
    recorded: list[float] = []
    original = timed(lambda: recorded.extend(original_procedure(model, examples, few)), device) / len(few)
    worst = (scorer().gold_losses(few) - torch.tensor(recorded, dtype=torch.float64)).abs().max().item()

    seconds = {
        "(a) original's procedure": original,
        "(b) ours, gold loss": min(ours),
        f"(b) ours, all {arguments.num_choices} choices": min(all_choices),
        "(d) limit, gold loss": min(limit),
    }
    a_over_b, b_over_d = original / min(ours), min(ours) / min(limit)
    for name, value in seconds.items():
        print(f"  {name:<32}{value:10.4f} s/code {1 / value:10.2f} codes/s")
    print(f"  (b) is {a_over_b:.1f} x as fast as (a); it takes {b_over_d:.3f} x the time of (d)")
    print(f"  largest difference between the losses of (a) and (b): {worst:.2g}", flush=True)
    return {
        "seconds_per_code": seconds,
        "a_over_b": a_over_b,
        "b_over_d": b_over_d,
        "largest_difference_of_losses_a_b": worst,
    }


def pruning(
    arguments: argparse.Namespace, model: CTRForConditionalGeneration, examples: list[dict], codes: torch.Tensor
) -> dict[str, object]:
    """(c) beside (b), alternating. Both with one token budget, which is not measured anew by each of them."""
    numbers = {}
    start = model.task_codes()[0]
    budget = CodeScorer(model, examples, arguments.token_budget).prompt_scorer.token_budget
    for objective in arguments.objectives:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        found: dict[bool, BitwiseSearchResult] = {}

        def search(prune: bool, objective: str = objective, found: dict = found) -> None:
            found[prune] = BitwiseSearch(
                CodeScorer(model, examples, budget), task_code_space(model), objective=objective, start_codes=start, prune=prune,
                max_evaluations=arguments.search_evaluations, progress=False,
            ).run()  # fmt: skip

        for _ in range(arguments.rounds):
            for prune in (False, True):
                seconds[prune].append(timed(lambda s=search, p=prune: s(p), model.device.type))
        same = found[True].code == found[False].code and math.isclose(
            found[True].loss, found[False].loss, rel_tol=1e-5
        )
        if arguments.dtype == "float32" and not same:  # half precision rounds differently in other batches
            raise RuntimeError("Pruning changed the result.")
        plain, pruned = min(seconds[False]), min(seconds[True])
        saved = found[True].pairs_pruned / (found[True].evaluations * len(examples))
        numbers[objective] = {
            "plain": seconds[False],
            "pruned": seconds[True],
            "share_of_pairs_saved": saved,
            "same_result": same,
            "evaluations": found[True].evaluations,
        }
        print(
            f"  (c) bitwise search of {found[True].evaluations} codes by {objective}: {plain:.2f} s plain, "
            f"{pruned:.2f} s pruned ({pruned / plain:.2f} x), {saved:.0%} of the pairs saved, "
            f"{'the same' if same else 'another'} result",
            flush=True,
        )
    return numbers


def autocast(
    arguments: argparse.Namespace, model: CTRForConditionalGeneration, examples: list[dict], codes: torch.Tensor
) -> dict[str, object]:
    """(b) under bfloat16 autocast beside (b), and whether the codes still rank as they did."""
    seconds: dict[str, list[float]] = {"plain": [], "autocast": []}
    losses: dict[str, torch.Tensor] = {}

    def score(name: str) -> None:
        dtype = torch.bfloat16 if name == "autocast" else None
        losses[name] = CodeScorer(model, examples, arguments.token_budget, dtype).gold_losses(codes)

    for _ in range(arguments.rounds):
        for name, times in seconds.items():
            times.append(timed(lambda n=name: score(n), model.device.type) / len(codes))
    plain, half = losses["plain"], losses["autocast"]
    numbers = {
        "seconds_per_code": seconds,
        "largest_difference": (plain - half).abs().max().item(),
        "spread_of_losses": plain.std().item(),
        "kendall": kendalltau(plain, half).statistic,
        "same_best_code": bool(plain.argmin() == half.argmin()),
    }
    print(
        f"  bfloat16 autocast: {min(seconds['autocast']):.4f} s/code for {min(seconds['plain']):.4f}; losses differ by "
        f"{numbers['largest_difference']:.2g} at most, among {len(codes)} codes with a deviation of "
        f"{numbers['spread_of_losses']:.3g}; Kendall's tau {numbers['kendall']:.3f}, "
        f"{'the same' if numbers['same_best_code'] else 'another'} best code",
        flush=True,
    )
    return numbers


def compiled(
    arguments: argparse.Namespace, model: CTRForConditionalGeneration, examples: list[dict], codes: torch.Tensor
) -> dict[str, object]:
    """(b) with the language model compiled for any shape, beside (b). Leaves the model compiled."""

    def score() -> torch.Tensor:
        return CodeScorer(model, examples, arguments.token_budget).gold_losses(codes)

    before = score()
    plain = min(timed(score, model.device.type) for _ in range(arguments.rounds)) / len(codes)
    torch._dynamo.reset()
    model.backbone.get_encoder().compile(dynamic=True)
    model.backbone.compile(dynamic=True)
    start = time.perf_counter()
    worst = (score() - before).abs().max().item()
    first = time.perf_counter() - start
    fast = min(timed(score, model.device.type) for _ in range(arguments.rounds)) / len(codes)
    breaks = dict(torch._dynamo.utils.counters["graph_break"])
    print(
        f"  compiled: {fast:.4f} s/code for {plain:.4f}, after {first:.0f} s for the first {len(codes)}; losses differ by "
        f"{worst:.2g} at most; {len(breaks)} kinds of graph breaks: {', '.join(breaks) or 'none'}",
        flush=True,
    )
    return {"seconds_per_code": fast, "plain": plain, "first_run": first, "difference": worst, "graph_breaks": breaks}


PARTS = {"throughput": throughput, "pruning": pruning, "autocast": autocast, "compile": compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["throughput", "pruning"])
    parser.add_argument("--model", help="a CTR checkpoint; default: random weights of --shape")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--num_codes", type=int, default=12)
    parser.add_argument("--num_original_codes", type=int, default=2, help="codes to time the slow procedure (a) on")
    parser.add_argument("--num_examples", type=int, default=32)
    parser.add_argument("--num_choices", type=int, default=3)
    parser.add_argument("--token_budget", type=int, help="default: the scorer's own")
    parser.add_argument("--search_evaluations", type=int, default=40, help="codes of each search of (c)")
    parser.add_argument("--objectives", nargs="+", default=["normalized_loss"], help="of (c)")
    parser.add_argument("--rounds", type=int, default=2, help="alternating rounds; the fastest of each counts")
    parser.add_argument("--output", help="write the numbers there as JSON")
    arguments = parser.parse_args()

    if arguments.device == "cpu":
        torch.set_num_threads(1)  # several would wait for each other in processor time
    model = make_model(arguments)
    examples = make_examples(arguments.num_examples, model.config.text_config.vocab_size, arguments.num_choices)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.num_codes, model.config.code_length)
    codes = torch.randint(0, model.config.codebook_size, shape, generator=generator)
    on_gpu = model.device.type == "cuda"
    numbers: dict[str, object] = {
        "arguments": vars(arguments),
        "machine": torch.cuda.get_device_name() if on_gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(f"{numbers['machine']}, {numbers['threads']} threads, torch {torch.__version__}, {arguments.dtype}")
    for part in arguments.parts:
        numbers[part] = PARTS[part](arguments, model, examples, codes)
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump(numbers, file, indent=1)


if __name__ == "__main__":
    main()
