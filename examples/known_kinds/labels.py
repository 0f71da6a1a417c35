"""Accuracy against the number of labels: `python examples/known_kinds/labels.py out/known_kinds/seed_*/stage2 --data_dir data
--model_name_or_path google/flan-t5-small`.

From the log-likelihoods that `training_codes.py` keeps: each training code's, of all its few-shot examples together. Of these
examples 4 to 128 are drawn, five times each, for reusing a code and for logistic regression on embeddings. Prints accuracies
and the calibration error with 32 labels, and writes `labels.png` into the folder of the training seeds.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import numpy as np
import torch
from matplotlib.figure import Figure
from rivals import SentenceModel
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import nn
from training_codes import (
    FEW_SHOT_SEEDS,
    HERE,
    MAX_SOURCE_LENGTH,
    TASKS,
    Arrays,
    answer_by_labels,
    draw_parts,
    get_arrays,
)
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from evaluation.tables import format_markdown_table
from prediction.calibration import expected_calibration_error
from prediction.linear_probe import compute_mean_states
from tasks import FeatureBuilder, load_tasks, select_tasks

LABELS = (4, 8, 16, 32, 64, 128)
DRAWS = 5
RIVALS = ("encoder states + LR", "MiniLM + LR", "TF-IDF + LR")
# Way -> number of labels -> accuracy and calibration error of each draw.
Results = dict[str, dict[int, list[tuple[float, float]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="trained models, such as of several seeds")
    parser.add_argument("--data_dir", required=True, help="what prepare.py wrote")
    parser.add_argument("--model_name_or_path", required=True, help="the language model, as it was before training")
    parser.add_argument("--sentence_model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="held-out tasks whose answers are fixed")
    args = parser.parse_args()
    encoder = AutoModelForSeq2SeqLM.from_pretrained(args.model_name_or_path).get_encoder()
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
    sentences = SentenceModel(args.sentence_model)
    by_task = {}
    for task in select_tasks(load_tasks("no_prompt", HERE / "templates"), args.tasks):
        parts = draw_parts(task, args.data_dir, FeatureBuilder(tokenizer, MAX_SOURCE_LENGTH))
        inputs = [tuple(ids) for seed in FEW_SHOT_SEEDS for ids in parts[f"few_{seed}"]["input_ids"]]
        kept = sorted({ids: row for row, ids in enumerate(inputs)}.values())  # the draws have rows in common
        features = embed(
            [inputs[row] for row in kept], parts["evaluation"]["input_ids"], encoder, tokenizer, sentences
        )
        results: Results = defaultdict(lambda: defaultdict(list))
        for checkpoint in args.checkpoints:
            arrays = get_arrays(checkpoint, task, args.data_dir)
            answer_by_codes(arrays, kept, results)
        answer_by_embeddings(features, arrays, kept, results)
        by_task[task.name] = results
    draw_curves(by_task, args.checkpoints[0].parents[1] / "labels.png")
    print("\n".join(make_report(by_task)))


def embed(
    few: Sequence[Sequence[int]],
    evaluation: Sequence[Sequence[int]],
    encoder: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sentences: SentenceModel,
) -> dict[str, tuple]:
    """Make what each rival sees of the examples and of the rows, and how it scales that."""
    texts = [
        tokenizer.batch_decode([list(ids) for ids in part], skip_special_tokens=True) for part in (few, evaluation)
    ]
    return {
        "encoder states + LR": (StandardScaler, *(compute_mean_states(encoder, part) for part in (few, evaluation))),
        "MiniLM + LR": (Normalizer, *map(sentences.embed, texts)),
        "TF-IDF + LR": (TfidfVectorizer, *map(np.array, texts)),
    }


def draw_labels(gold: np.ndarray, number: int, draw: int) -> np.ndarray:
    """Draw examples to label, until each answer is among them."""
    generator = np.random.default_rng([number, draw])
    while True:
        rows = generator.permutation(len(gold))[:number]
        if len(set(gold[rows])) == len(set(gold)):
            return rows


def get_few_shot(arrays: Arrays, kept: Sequence[int], kind: str = "") -> np.ndarray:
    """Join the few-shot examples of all draws, a row once."""
    axis = 0 if kind else 1
    return np.concatenate([arrays[f"few_{seed}{kind}"] for seed in FEW_SHOT_SEEDS], axis).take(kept, axis)


def answer_by_codes(arrays: Arrays, kept: Sequence[int], results: Results) -> None:
    """Add the ways that use training codes."""
    few, few_raw, gold = (get_few_shot(arrays, kept, kind) for kind in ("", "_raw", "_answers"))
    evaluation, raw = (torch.from_numpy(arrays[name]).double() for name in ("evaluation", "evaluation_raw"))
    for number in LABELS:
        for draw in range(DRAWS):
            rows = draw_labels(gold, number, draw)
            shown = (torch.from_numpy(values).double() for values in (few[:, rows], few_raw[rows]))
            ways = answer_by_labels(*shown, torch.from_numpy(gold[rows]), evaluation, raw)
            for way, log_probabilities in ways.items():
                results[way][number].append(judge(log_probabilities.exp(), arrays["evaluation_answers"]))


def answer_by_embeddings(features: dict[str, tuple], arrays: Arrays, kept: Sequence[int], results: Results) -> None:
    """Add logistic regression on embeddings, which no training seed touches."""
    gold = get_few_shot(arrays, kept, "_answers")
    for rival, (scaling, few, evaluation) in features.items():
        for number in LABELS:
            for draw in range(DRAWS):
                rows = draw_labels(gold, number, draw)
                classifier = make_pipeline(scaling(), LogisticRegression(max_iter=1000)).fit(few[rows], gold[rows])
                probabilities = torch.from_numpy(classifier.predict_proba(evaluation))
                results[rival][number].append(judge(probabilities, arrays["evaluation_answers"]))


def judge(probabilities: torch.Tensor, answers: np.ndarray) -> tuple[float, float]:
    """Compute accuracy and calibration error."""
    right = torch.from_numpy(answers)
    accuracy = (probabilities.argmax(1) == right).double().mean().item()
    return accuracy, expected_calibration_error(probabilities, right)


def draw_curves(by_task: dict[str, Results], path: Path) -> None:
    """Draw accuracy against labels, a panel for each task."""
    figure = Figure(figsize=(4 * len(by_task), 4))
    for number, (task, results) in enumerate(by_task.items()):
        axes = figure.add_subplot(1, len(by_task), number + 1)
        for way, by_number in results.items():
            means = [100 * statistics.mean(accuracy for accuracy, _ in by_number[k]) for k in LABELS]
            axes.plot(LABELS, means, marker=".", label=way, linestyle="--" if way in RIVALS else "-")
        axes.set_xscale("log", base=2)
        axes.set_xticks(LABELS, [str(k) for k in LABELS])
        axes.set_title(task)
        axes.set_xlabel("labels")
        if number == 0:
            axes.set_ylabel("accuracy (%)")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize="small")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def make_report(by_task: dict[str, Results]) -> list[str]:
    """Make a table of accuracies for each task, and one of calibration errors with 32 labels, in percent."""
    lines = []
    for task, results in by_task.items():
        rows = [[task, *(f"{k} labels" for k in LABELS)]]
        for way, by_number in results.items():
            rows.append([way, *(f"{100 * statistics.mean(a for a, _ in by_number[k]):.1f}" for k in LABELS)])
        lines += [*format_markdown_table(rows), ""]
    rows = [["calibration error, 32 labels", *by_task]]
    for way in next(iter(by_task.values())):
        errors = [statistics.mean(error for _, error in results[way][32]) for results in by_task.values()]
        rows.append([way, *(f"{100 * error:.1f}" for error in errors)])
    return [*lines, *format_markdown_table(rows)]


if __name__ == "__main__":
    main()
