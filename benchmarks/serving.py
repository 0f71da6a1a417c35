"""Answers a second of one task: `TaskSolver.predict`, the exported model in transformers, and CTranslate2, side by side.

    python benchmarks/serving.py                        # T5-small's shape, random weights, one thread
    python benchmarks/serving.py --num_texts 32 --rounds 1
    python benchmarks/serving.py --shape large --device cuda --num_texts 2000 --output serving.json

All rank the same answers to the same texts, sorted by length and batched by tokens. Beside the speed stands the largest
difference of a probability among the answers from `predict_proba`, and the share of texts with another first answer. CPU
seconds of this process, on a GPU seconds passed; ways are run in turn, and medians are told. Random weights leave answers close together, so that
int8 changes more of them than it does in a trained model.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import ctranslate2
import numpy as np
import torch
from predict_throughput import ANSWERS, TASK, get_machine, make_solver, make_texts, now
from t5_shapes import SHAPES
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from export import ExportedTasks, export_model
from export.ctranslate2_model import convert_to_ctranslate2

TOKENS = 4096  # of a batch

Scores = np.ndarray  # (texts, answers), log-likelihoods


def make_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of texts, longest first, in batches of at most `TOKENS` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches = []
    while order:
        size = max(1, TOKENS // lengths[order[0]])
        batches.append(order[:size])
        order = order[size:]
    return batches


def rank_in_transformers(folder: str, exported: ExportedTasks, device: str) -> Callable[[Sequence[str]], Scores]:
    """Make a function of texts that ranks the answers as the card of an exported model says."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).to(device), AutoTokenizer.from_pretrained(folder)
    labels = tokenizer(ANSWERS, return_tensors="pt", padding=True)["input_ids"]
    labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100).to(device)

    @torch.inference_mode()
    def rank(texts: Sequence[str]) -> Scores:
        rows = tokenizer([exported.join(TASK, text) for text in texts])["input_ids"]
        scores = np.zeros((len(texts), len(ANSWERS)))
        for batch in make_batches([len(row) for row in rows]):
            inputs = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt").to(device)
            states = model.get_encoder()(**inputs)[0].repeat_interleave(len(ANSWERS), 0)
            of_rows = labels.repeat(len(batch), 1)
            logits = model(
                encoder_outputs=BaseModelOutput(states),
                attention_mask=inputs["attention_mask"].repeat_interleave(len(ANSWERS), 0),
                decoder_input_ids=model.prepare_decoder_input_ids_from_labels(of_rows),
            ).logits[..., : exported.vocab_size]
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), of_rows, reduction="none").sum(1)
            scores[batch] = -losses.view(len(batch), -1).cpu().numpy()
        return scores

    return rank


def rank_in_ctranslate2(
    folder: str, converted: str, exported: ExportedTasks, device: str
) -> Callable[[Sequence[str]], Scores]:
    """Make a function of texts that ranks the answers with `score_batch`."""
    translator = ctranslate2.Translator(converted, device=device, intra_threads=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    targets = [tokenizer.tokenize(answer) for answer in ANSWERS]

    def rank(texts: Sequence[str]) -> Scores:
        sources = [tokenizer.tokenize(exported.join(TASK, text), add_special_tokens=True) for text in texts]
        results = translator.score_batch(
            [source for source in sources for _ in targets],
            targets * len(sources),
            max_batch_size=TOKENS,
            batch_type="tokens",
        )
        return np.array([sum(result.log_probs) for result in results]).reshape(len(texts), -1)

    return rank


def to_probabilities(scores: Scores) -> np.ndarray:
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--num_texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the numbers there as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    solver = make_solver(argparse.Namespace(shape=args.shape, device=args.device, dtype="float32"))
    texts = make_texts(args.num_texts)
    with TemporaryDirectory() as folder:
        plain = f"{folder}/plain"
        exported = export_model(solver.model, plain, tokenizer=solver.tokenizer, tasks=[TASK])
        ways: dict[str, Callable[[Sequence[str]], np.ndarray]] = {
            "predict_proba": lambda texts: solver.predict_proba(texts, TASK, progress=False)
        }
        in_transformers = rank_in_transformers(plain, exported, args.device)
        ways["exported, transformers"] = lambda texts: to_probabilities(in_transformers(texts))
        for name in ("float32", "int8"):
            convert_to_ctranslate2(plain, f"{folder}/{name}", name)
            rank = rank_in_ctranslate2(plain, f"{folder}/{name}", exported, args.device)
            ways[f"exported, CTranslate2 {name}"] = lambda texts, rank=rank: to_probabilities(rank(texts))
        measure(ways, texts, args)


def measure(ways: dict[str, Callable], texts: Sequence[str], args: argparse.Namespace) -> None:
    """Run all ways in turn, and print a table."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, np.ndarray] = {}
    for number in range(args.rounds + 1):
        for name, way in ways.items():
            start = now(args.device)
            found[name] = way(texts[:8] if number == 0 else texts)  # the first round warms up
            if number:
                seconds[name].append((now(args.device) - start) / len(texts))
    reference = found["predict_proba"]
    print(
        f"{get_machine(args.device)}, one thread, torch {torch.__version__}, CTranslate2 {ctranslate2.__version__}, T5-{args.shape}:"
    )
    print(f"{len(texts)} texts, {len(ANSWERS)} answers; medians of {args.rounds} rounds")
    print("| way | texts a second | largest difference of a probability | other first answers |\n|---|---|---|---|")
    numbers: dict[str, dict[str, float]] = {}
    for name, values in seconds.items():
        numbers[name] = {
            "seconds_per_text": statistics.median(values),
            "largest_difference": float(np.abs(found[name] - reference).max()),
            "other_first_answers": float((found[name].argmax(1) != reference.argmax(1)).mean()),
        }
        speed, difference, others = numbers[name].values()
        print(f"| {name} | {1 / speed:.1f} | {difference:.1e} | {others:.1%} |")
    if args.output:
        arguments = vars(args) | {"output": str(args.output)}
        args.output.write_text(
            json.dumps({"arguments": arguments, "machine": get_machine(args.device), "ways": numbers}, indent=1)
        )


if __name__ == "__main__":
    main()
