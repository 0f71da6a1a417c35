"""Seconds a code takes with a decoder-only language model, by where the code stands, beside two naive ways and the limit.

    python benchmarks/search_decoder_only.py                                  # CPU, a small Llama of random weights
    python benchmarks/search_decoder_only.py --shape smollm                   # the shape of SmolLM2-135M
    python benchmarks/search_decoder_only.py --device cuda --dtype bfloat16 --shape smollm --num_codes 256

Same weights, codes, examples and answers for all, side by side in one run:

(a) one example and one answer at a time, in front of the text, logits of the whole sequence;
(b) the same, logits of the answer's tokens alone;
(c) ours, codes in front of the text;
(d) ours, codes behind the text, whose keys and values are kept; reading the texts once is timed on its own;
(e) the limit of (d): bare passes over the code's vectors and the answers' tokens behind texts that are read already, in
    ideal batches without padding (texts all have the mean length); nothing else.

A CPU computes in one thread and its seconds are those the processor spent on this process; a GPU's are seconds passed.
"""

import argparse
import json
import platform

import torch
import transformers
from causal_shapes import SHAPES, make_llama_config
from search_throughput import make_examples, timed

from modeling_ctr import CTRConfig, CTRForCausalLM
from search import CodeScorer
from search.scoring.causal_reading import make_cache

POSITIONS = ("prefix", "suffix")


def make_models(arguments: argparse.Namespace) -> dict[str, CTRForCausalLM]:
    """Models of equal weights, by where the code stands."""
    made = {}
    for position in POSITIONS:
        torch.manual_seed(0)
        text_config = make_llama_config(arguments.shape)
        model = CTRForCausalLM(CTRConfig(text_config=text_config, num_tasks=30, code_position=position))
        made[position] = model.to(arguments.device, getattr(torch, arguments.dtype)).eval()
    return made


@torch.inference_mode()
def score_one_by_one(
    model: CTRForCausalLM, examples: list[dict], codes: torch.Tensor, answers_only: bool
) -> torch.DoubleTensor:
    """(a) and (b): log-likelihoods `(num_codes, num_examples, num_choices)`."""
    words, device = model.get_input_embeddings(), model.device
    rows = []
    for code in codes:
        prompt = model.prompt_vectors(code[None].to(device))[0].to(words.weight.dtype)
        for row in examples:
            for choice in row["choice_ids"]:
                ids = torch.tensor(row["input_ids"] + choice, device=device)
                keep = len(choice) + 1 if answers_only else 0
                embeds = torch.cat([prompt, words(ids)])[None]
                logits = model.backbone(inputs_embeds=embeds, logits_to_keep=keep, use_cache=False).logits[0].float()
                before = logits[len(logits) - len(choice) - 1 : -1].log_softmax(-1)
                rows.append(before.gather(1, ids[-len(choice) :, None]).sum().double())
    return torch.stack(rows).view(len(codes), len(examples), -1).cpu()


def make_bare_batches(model: CTRForCausalLM, examples: list[dict], num_codes: int, token_budget: int) -> list[tuple]:
    """(e): keys and values of texts, and vectors behind them; first of codes, then of answers behind text and code."""
    config = model.config.text_config
    size = config.hidden_size // config.num_attention_heads
    kind = {"dtype": model.get_input_embeddings().weight.dtype, "device": model.device}
    length = round(
        sum(len(row["input_ids"]) for row in examples) / len(examples)
    )  # texts of one length need no padding
    pairs = len(examples) * num_codes
    answers: dict[int, int] = {}
    for choice in examples[0]["choice_ids"]:
        answers[len(choice) - 1] = answers.get(len(choice) - 1, 0) + 1
    batches = []

    def add(rows: int, past: int, tokens: int, logits: int) -> None:
        at_once = max(1, token_budget // (2 * tokens))
        while rows:
            count = min(at_once, rows)
            shape = (count, config.num_key_value_heads, past, size)
            layers = [(torch.randn(shape, **kind), torch.randn(shape, **kind))] * config.num_hidden_layers
            batches.append((layers, torch.randn(count, tokens, config.hidden_size, **kind), logits))
            rows -= count

    add(pairs, length, model.config.code_length, 1)
    for tokens, count in answers.items():
        if tokens:
            add(pairs * count, length + model.config.code_length, tokens, tokens)
    return batches


@torch.inference_mode()
def run_bare(model: CTRForCausalLM, batches: list[tuple]) -> None:
    """The passes of (e)."""
    for layers, embeds, logits in batches:
        model.backbone(inputs_embeds=embeds, past_key_values=make_cache(layers), logits_to_keep=logits)


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds a code, ratios and differences."""
    models = make_models(arguments)
    examples = make_examples(
        arguments.num_examples, models["prefix"].config.text_config.vocab_size, arguments.num_choices
    )
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 128, (arguments.num_codes + 1, 10), generator=generator)
    warm, codes, few = codes[:1], codes[1:], codes[1 : 1 + arguments.num_naive_codes]
    device = models["prefix"].device.type
    seconds: dict[str, list[float]] = {}
    scores: dict[str, torch.Tensor] = {}

    def note(name: str, function, count: int) -> None:
        seconds.setdefault(name, []).append(timed(function, device) / count)

    bare = make_bare_batches(models["suffix"], examples, len(codes), arguments.token_budget or 2048)
    run_bare(models["suffix"], bare[:1])
    for _ in range(arguments.rounds):
        for position, name in zip(POSITIONS, ("(c) ours, prefix", "(d) ours, suffix"), strict=True):
            scorer = CodeScorer(models[position], examples, arguments.token_budget)
            note(f"first code, {position}", lambda s=scorer: s.choice_log_likelihoods(warm), 1)
            note(name, lambda s=scorer, p=position: scores.update({p: s.choice_log_likelihoods(codes)}), len(codes))
        note("(e) limit of (d)", lambda: run_bare(models["suffix"], bare), len(codes))
    naive: dict[bool, torch.Tensor] = {}
    for name, answers_only in (("(a) one by one", False), ("(b) one by one, answers' logits", True)):
        run = lambda only=answers_only: naive.update(  # noqa: E731
            {only: score_one_by_one(models["prefix"], examples, few, only)}
        )
        note(name, run, len(few))
    worst = (scores["prefix"][: len(few)] - naive[False]).abs().max().item()
    best = {name: min(times) for name, times in seconds.items()}
    for name, value in sorted(best.items()):
        print(f"  {name:<34}{value:10.4f} s/code")
    ratios = {
        "d_over_e": best["(d) ours, suffix"] / best["(e) limit of (d)"],
        "c_over_d": best["(c) ours, prefix"] / best["(d) ours, suffix"],
        "a_over_d": best["(a) one by one"] / best["(d) ours, suffix"],
    }
    kept = scorer.prompt_scorer.reader.texts.num_bytes  # of the last, behind the text
    print(
        f"  (d) takes {ratios['d_over_e']:.2f} x the time of (e), (c) {ratios['c_over_d']:.2f} x that of (d); kept texts: "
        f"{kept / 2**20:.1f} MiB; (c) and (a) differ by {worst:.2g} at most"
    )
    return {"seconds_per_code": best, **ratios, "kept_bytes": kept, "largest_difference": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--num_codes", type=int, default=8)
    parser.add_argument("--num_naive_codes", type=int, default=1)
    parser.add_argument("--num_examples", type=int, default=32)
    parser.add_argument("--num_choices", type=int, default=4)
    parser.add_argument("--token_budget", type=int, help="default: the scorer's own")
    parser.add_argument("--rounds", type=int, default=2, help="alternating rounds; the fastest of each counts")
    parser.add_argument("--output", help="write the numbers there as JSON")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    on_gpu = arguments.device != "cpu"
    machine = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()} CPU"
    print(f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}, {arguments.dtype}")
    numbers = {"arguments": vars(arguments), "machine": machine, **measure(arguments)}
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump(numbers, file, indent=1)


if __name__ == "__main__":
    main()
