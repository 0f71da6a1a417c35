"""What reusing a training task's code is worth, and how to choose one: `python examples/known_kinds/training_codes.py
out/known_kinds/seed_*/stage2 --data_dir data`.

Every training code answers the few-shot examples, the unlabeled ones and the evaluation rows once; the log-likelihoods are
kept beside the models, and all ways to choose a code, or to use several, are computed from them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoTokenizer

from evaluation.aggregation import format_percent
from evaluation.protocol import Draws, held_out_examples
from evaluation.result_files import get_file_name
from evaluation.tables import format_markdown_table
from modeling_ctr import load_model
from prediction.calibration import fit_calibration
from prediction.linear_probe import get_log_odds
from search import CodeScorer
from search.code_ensemble import ensemble_vote
from search.scoring.objectives import choice_cross_entropy
from tasks import FeatureBuilder, Task, load_rows, load_tasks, select_tasks

HERE = Path(__file__).resolve().parent
FEW_SHOT_SEEDS = (1, 2, 3, 4, 5)
MAX_SOURCE_LENGTH = 80
TASKS = ("rotten_tomatoes/text_positive_negative", "reviews_yes_no", "trec_number", "news_sports")
Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoints", type=Path, nargs="+", help="trained models of either kind, such as of several seeds"
    )
    parser.add_argument("--data_dir", required=True, help="what prepare.py wrote")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="held-out tasks whose answers are fixed")
    parser.add_argument(
        "--max_source_length", type=int, default=MAX_SOURCE_LENGTH, help="tokens of a text, as in training"
    )
    args = parser.parse_args()
    tasks = select_tasks(load_tasks("no_prompt", HERE / "templates"), args.tasks)
    accuracies: dict[str, dict[str, list[float]]] = {}
    for checkpoint in args.checkpoints:
        for task in tasks:
            arrays = get_arrays(checkpoint, task, args.data_dir, args.max_source_length)
            for way, values in compare_ways(arrays).items():
                accuracies.setdefault(way, {}).setdefault(task.name, []).extend(values)
    rows = [["way", *(task.name for task in tasks)]]
    rows += [[way, *(format_values(by_task[task.name]) for task in tasks)] for way, by_task in accuracies.items()]
    print("\n".join(format_markdown_table(rows)))


def get_arrays(checkpoint: Path, task: Task, data_dir: str, max_source_length: int = MAX_SOURCE_LENGTH) -> Arrays:
    """Load the log-likelihoods of a checkpoint's codes, computed once and kept beside it."""
    path = checkpoint.parent / "training_codes" / f"{get_file_name(task.name)}.npz"
    if not path.is_file():
        arrays = score_training_codes(checkpoint, task, data_dir, max_source_length)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
    return dict(np.load(path))


def score_training_codes(checkpoint: Path, task: Task, data_dir: str, max_source_length: int) -> Arrays:
    """Compute log-likelihoods of the answers, of a CTR model of either kind.

    Returns:
        For `few_1` to `few_5`, `unlabelled` and `evaluation`: `(num_codes, num_examples, num_choices)`, the same without a
        code under `..._raw` `(num_examples, num_choices)`, and the right answers under `..._answers`.
    """
    model = load_model(checkpoint)
    builder = FeatureBuilder(
        AutoTokenizer.from_pretrained(checkpoint), max_source_length, decoder_only=not model.config.is_encoder_decoder
    )
    arrays = {}
    for name, features in draw_parts(task, data_dir, builder).items():
        scorer = CodeScorer(model, features)
        arrays[name] = scorer.choice_log_likelihoods(model.task_codes()).numpy()
        arrays[f"{name}_raw"] = scorer.prompt_scorer.choice_log_likelihoods(None)[0].numpy()
        arrays[f"{name}_answers"] = np.array(features["answer"])
    return arrays


def draw_parts(task: Task, data_dir: str, builder: FeatureBuilder) -> dict[str, Dataset]:
    """Draw the examples that `run_ctr.py` draws: `few_1` to `few_5`, `unlabelled` and `evaluation`."""
    rows = load_rows(task.dataset, task.source, data_dir)
    parts: dict[str, Dataset] = {}
    for seed in FEW_SHOT_SEEDS:
        is_first = not parts  # of what all draws share, or only one needs
        draws = Draws(num_shots=32, num_unlabelled=32 * is_first, judged=is_first, max_eval_samples=250)
        (examples,) = held_out_examples([task], rows, builder, draws, seed)
        parts[f"few_{seed}"] = examples.few_shot
        if is_first:
            parts |= {"unlabelled": examples.unlabelled, "evaluation": examples.evaluation}
    return parts


def compare_ways(arrays: Arrays) -> dict[str, list[float]]:
    """Compute the accuracy on the evaluation rows of each way, for each few-shot draw where it looks at one."""
    answers = torch.from_numpy(arrays["evaluation_answers"])
    evaluation, raw = (torch.from_numpy(arrays[name]).double() for name in ("evaluation", "evaluation_raw"))

    def compute_accuracy(scores: torch.Tensor) -> float:
        return (scores.argmax(-1) == answers).double().mean().item()

    of_codes = [compute_accuracy(scores) for scores in evaluation]
    unlabelled = torch.from_numpy(arrays["unlabelled"])
    numbers = torch.arange(len(unlabelled))  # in place of codes
    (vote,) = ensemble_vote({"": unlabelled}, numbers[:, None], list(map(str, numbers))).code
    ways = {
        "no code": [compute_accuracy(raw)],
        "a training code at random": [float(np.mean(of_codes))],
        "training code, oracle (best on these rows)": [max(of_codes)],
        "Code Ensemble, no labels": [of_codes[vote]],
    }
    for seed in FEW_SHOT_SEEDS:
        few, few_raw = (torch.from_numpy(arrays[name]).double() for name in (f"few_{seed}", f"few_{seed}_raw"))
        gold = torch.from_numpy(arrays[f"few_{seed}_answers"])
        for way, log_probabilities in answer_by_labels(few, few_raw, gold, evaluation, raw).items():
            ways.setdefault(way, []).append(compute_accuracy(log_probabilities))
    return ways


def answer_by_labels(
    few: torch.Tensor, few_raw: torch.Tensor, gold: torch.Tensor, evaluation: torch.Tensor, raw: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Answer rows in each way that looks at labeled examples.

    Args:
        few: Log-likelihoods of the labeled examples' answers under all codes, `(num_codes, num_examples, num_choices)`.
        few_raw: The same without a code, `(num_examples, num_choices)`.
        gold: The examples' right answers, `(num_examples,)`.
        evaluation: As `few`, of the rows.
        raw: As `few_raw`, of the rows.

    Returns:
        Log-probabilities of the answers, `(num_rows, num_choices)`, by way.
    """
    losses = choice_cross_entropy(few, gold).mean(1)
    right = (few.argmax(-1) == gold).double().mean(1)
    best, best_by_accuracy = int(losses.argmin()), int((right - 1e-3 * losses).argmax())
    calibrations = [fit_calibration(scores, gold) for scores in few]
    calibrated = torch.stack([c.log_probabilities(scores) for c, scores in zip(calibrations, few, strict=True)])
    best_calibrated = int(choice_cross_entropy(calibrated, gold).mean(1).argmin())
    return {
        "no code, calibrated": fit_calibration(few_raw, gold).log_probabilities(raw),
        "training code by loss": evaluation[best].log_softmax(-1),
        "training code by accuracy": evaluation[best_by_accuracy].log_softmax(-1),
        "training code by loss, calibrated": calibrations[best].log_probabilities(evaluation[best]),
        "training code by calibrated loss": calibrations[best_calibrated].log_probabilities(
            evaluation[best_calibrated]
        ),
        "LR on the answers under all training codes": stack(few, gold, evaluation),
    }


def stack(few: torch.Tensor, gold: torch.Tensor, evaluation: torch.Tensor) -> torch.Tensor:
    """Answer by logistic regression on the log-odds of the answers under all training codes."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(get_log_odds(few), gold.numpy())
    return torch.from_numpy(classifier.predict_log_proba(get_log_odds(evaluation)))


def format_values(values: list[float]) -> str:
    """Write shares as their mean in percent, with the standard deviation where they differ."""
    return format_percent(values if len(set(values)) > 1 else values[:1])


if __name__ == "__main__":
    main()
