"""Texts a second of `TaskSolver.predict`, beside bare forward passes of the same tokens and beside a loop of `generate`.

    python benchmarks/predict_throughput.py                                    # CPU, T5-small's shape
    python benchmarks/predict_throughput.py --shape large --device cuda --dtype bfloat16 --num_texts 20000

One model with random weights, one task with single-word and longer answers, texts of many lengths:

(a) `predict`: texts in, labels out; rendering, tokenizing, sorting, batching and probabilities included;
(b) the bare passes: the same token ids, tokenized, sorted and batched beforehand; the encoder over code and text, the
    decoder over every answer behind it, nothing else. It decodes what (a) shares between answers for each anew;
(c) a loop as one writes it first: tokenize a text, `generate`, compare the words (on `--num_loop_texts` of the texts).

A CPU computes in one thread and its seconds are those the processor spent on this process; a GPU's are seconds passed.
Ways are run in turn, `--rounds` times, and medians are told.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import torch
from t5_shapes import SHAPES, make_t5_config
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from modeling_ctr.task_details import TaskDetails
from prediction import TaskSolver

ANSWERS = ["w10", "w11", "w12 w13 w14", "w15 w16"]
TASK = "topics"


def make_solver(args: argparse.Namespace) -> TaskSolver:
    torch.manual_seed(0)
    config = CTRConfig(text_config=make_t5_config(args.shape), num_tasks=30)
    model = CTRForConditionalGeneration(config).to(args.device, getattr(torch, args.dtype)).eval()
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, config.text_config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    solver = TaskSolver(model, fast)
    code = torch.randint(config.codebook_size, (config.code_length,))
    model.add_task(TASK, code, TaskDetails(answers=ANSWERS, max_source_length=384, max_target_length=8))
    return solver


def make_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 5 to 380 words, half of them under 50."""
    draw = random.Random(seed)
    lengths = [min(380, max(5, round(draw.lognormvariate(3.9, 0.8)))) for _ in range(count)]
    return [" ".join(f"w{draw.randrange(100, 20000)}" for _ in range(length)) for length in lengths]


def bare_batches(solver: TaskSolver, texts: list[str], budget: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded token ids and masks, longest texts first, of at most `budget` tokens with the code's."""
    rows = sorted(solver.tokenizer(texts).input_ids, key=len, reverse=True)
    prompt = solver.model.config.code_length
    batches = []
    while rows:
        size = max(1, budget // (len(rows[0]) + prompt))
        chosen, rows = rows[:size], rows[size:]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in chosen], batch_first=True)
        batches.append((ids.to(solver.model.device), (ids != 0).long().to(solver.model.device)))
    return batches


@torch.inference_mode()
def run_bare(solver: TaskSolver, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Log-likelihoods of the answers, of each batch."""
    model = solver.model
    answers = [torch.tensor(ids) for ids in solver.tokenizer(ANSWERS).input_ids]
    labels = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=-100).to(model.device)
    found = []
    for ids, mask in batches:
        states = model.get_encoder()(ids, mask, task_code=model.get_task_code(TASK).expand(len(ids), -1))[0]
        of_rows = labels.repeat(len(ids), 1)
        logits = model(
            attention_mask=mask.repeat_interleave(len(labels), 0),
            encoder_outputs=BaseModelOutput(states.repeat_interleave(len(labels), 0)),
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(of_rows),
        ).logits
        losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), of_rows, reduction="none")
        found.append(-losses.sum(1).view(len(ids), -1))
    return found


@torch.inference_mode()
def run_loop(solver: TaskSolver, texts: list[str]) -> list[str]:
    written = []
    for text in texts:
        inputs = solver.tokenizer(text, return_tensors="pt", return_token_type_ids=False).to(solver.model.device)
        ids = solver.model.generate(**inputs, task=TASK, max_new_tokens=4)
        written.append(solver.tokenizer.decode(ids[0], skip_special_tokens=True))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--num_texts", type=int, default=256)
    parser.add_argument("--num_loop_texts", type=int, default=16)
    parser.add_argument("--token_budgets", type=int, nargs="+", default=[1024, 2048, 4096], help="Of bare batches.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file to write.")
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    solver, texts = make_solver(args), make_texts(args.num_texts)
    few = texts[: args.num_loop_texts]
    batches = {budget: bare_batches(solver, texts, budget) for budget in args.token_budgets}
    ways: dict[str, tuple[int, Callable]] = {
        "predict": (len(texts), lambda: solver.predict(texts, TASK, progress=False))
    }
    for budget, of_budget in batches.items():
        ways[f"bare passes of {budget} tokens"] = len(texts), lambda of_budget=of_budget: run_bare(solver, of_budget)
    ways["a loop of generate"] = len(few), lambda: run_loop(solver, few)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(args.rounds + 1):
        for name, (count, way) in ways.items():
            start = now(args.device)
            way()
            if number:  # the first round warms up
                seconds[name].append((now(args.device) - start) / count)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(value for name, value in medians.items() if name.startswith("bare"))
    tokens = sum(len(ids) for ids in solver.tokenizer(texts).input_ids)
    print(f"{get_machine(args.device)}, torch {torch.__version__}, {args.shape}, {args.dtype}: {len(texts)} texts")
    print(f"of {tokens / len(texts):.0f} tokens on average, {len(ANSWERS)} answers; medians of {args.rounds} rounds")
    print("| way | texts a second | time / fastest bare passes |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {1 / value:.1f} | {value / best:.2f} |")
    if args.output:
        found = {
            "arguments": vars(args) | {"output": str(args.output)},
            "machine": get_machine(args.device),
            "seconds_per_text": medians,
            "ratio": medians["predict"] / best,
        }
        args.output.write_text(json.dumps(found, indent=1))


def get_machine(device: str) -> str:
    """Name the GPU, or the kind of processor."""
    return f"{platform.machine()} CPU" if device == "cpu" else torch.cuda.get_device_name(device)


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
