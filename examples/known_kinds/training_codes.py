"""What reusing a training task's code is worth, and how to choose one: `python examples/known_kinds/training_codes.py
out/known_kinds --data_dir data`.

Every training code answers the few-shot examples, the unlabeled ones and the evaluation rows once; the log-likelihoods are
kept beside the models, and all ways to choose a code, or to use several, are computed from them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a clone, installed or not

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoTokenizer

from evaluation.aggregation import format_percent
from evaluation.protocol import Draws, held_out_examples
from evaluation.result_files import get_file_name
from evaluation.tables import format_markdown_table
from modeling_ctr import CTRForConditionalGeneration
from prediction.calibration import Calibration, fit_calibration
from search import CodeScorer
from search.code_ensemble import ensemble_vote
from search.scoring.objectives import choice_cross_entropy
from tasks import FeatureBuilder, Task, load_rows, load_tasks, select_tasks

HERE = Path(__file__).resolve().parent
FEW_SHOT_SEEDS = (1, 2, 3, 4, 5)
TASKS = ("rotten_tomatoes/text_positive_negative", "reviews_yes_no", "trec_number", "news_sports")
Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="what run.py wrote")
    parser.add_argument("--data_dir", required=True, help="what prepare.py wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="held-out tasks whose answers are fixed")
    args = parser.parse_args()
    tasks = select_tasks(load_tasks("no_prompt", HERE / "templates"), args.tasks)
    accuracies: dict[str, dict[str, list[float]]] = {}
    for seed in args.seeds:
        for task in tasks:
            path = args.output_dir / f"seed_{seed}" / "training_codes" / f"{get_file_name(task.dataset)}.npz"
            if not path.is_file():
                arrays = score_training_codes(args.output_dir / f"seed_{seed}" / "stage2", task, args.data_dir)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **arrays)
            for way, values in compare_ways(dict(np.load(path))).items():
                accuracies.setdefault(way, {}).setdefault(task.dataset, []).extend(values)
    rows = [["way", *(task.dataset for task in tasks)]]
    rows += [[way, *(format_values(by_task[task.dataset]) for task in tasks)] for way, by_task in accuracies.items()]
    print("\n".join(format_markdown_table(rows)))


def score_training_codes(checkpoint: Path, task: Task, data_dir: str) -> Arrays:
    """Compute log-likelihoods of the answers.

    Returns:
        For `few_1` to `few_5`, `unlabelled` and `evaluation`: `(num_codes, num_examples, num_choices)`, the same without a
        code under `..._raw` `(num_examples, num_choices)`, and the right answers under `..._answers`.
    """
    model = CTRForConditionalGeneration.from_pretrained(checkpoint)
    builder = FeatureBuilder(AutoTokenizer.from_pretrained(checkpoint), max_source_length=80)
    rows = load_rows(task.dataset, task.source, data_dir)
    parts = {}
    for seed in FEW_SHOT_SEEDS:
        is_first = not parts  # of what all draws share, or only one needs
        draws = Draws(num_shots=32, num_unlabelled=32 * is_first, judged=is_first, max_eval_samples=250)
        (examples,) = held_out_examples([task], rows, builder, draws, seed)
        parts[f"few_{seed}"] = examples.few_shot
        if is_first:
            parts |= {"unlabelled": examples.unlabelled, "evaluation": examples.evaluation}
    arrays = {}
    for name, features in parts.items():
        scorer = CodeScorer(model, features)
        arrays[name] = scorer.choice_log_likelihoods(model.task_codes()).numpy()
        arrays[f"{name}_raw"] = scorer.prompt_scorer.choice_log_likelihoods(None)[0].numpy()
        arrays[f"{name}_answers"] = np.array(features["answer"])
    return arrays


def compare_ways(arrays: Arrays) -> dict[str, list[float]]:
    """Compute the accuracy on the evaluation rows of each way, for each few-shot draw where it looks at one."""
    answers = torch.from_numpy(arrays["evaluation_answers"])
    evaluation, raw = (torch.from_numpy(arrays[name]).double() for name in ("evaluation", "evaluation_raw"))

    def compute_accuracy(scores: torch.Tensor, calibration: Calibration | None = None) -> float:
        values = scores if calibration is None else calibration.log_probabilities(scores)
        return (values.argmax(-1) == answers).double().mean().item()

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
        losses = choice_cross_entropy(few, gold).mean(1)
        right = (few.argmax(-1) == gold).double().mean(1)
        best, best_by_accuracy = int(losses.argmin()), int((right - 1e-3 * losses).argmax())
        calibrations = [fit_calibration(scores, gold) for scores in few]
        calibrated = torch.stack([c.log_probabilities(scores) for c, scores in zip(calibrations, few, strict=True)])
        best_calibrated = int(choice_cross_entropy(calibrated, gold).mean(1).argmin())
        new = {
            "no code, calibrated": compute_accuracy(raw, fit_calibration(few_raw, gold)),
            "training code by loss": of_codes[best],
            "training code by accuracy": of_codes[best_by_accuracy],
            "training code by loss, calibrated": compute_accuracy(evaluation[best], calibrations[best]),
            "training code by calibrated loss": compute_accuracy(
                evaluation[best_calibrated], calibrations[best_calibrated]
            ),
            "LR on the answers under all training codes": stack(few, gold, evaluation, answers),
        }
        for way, accuracy in new.items():
            ways.setdefault(way, []).append(accuracy)
    return ways


def stack(few: torch.Tensor, gold: torch.Tensor, evaluation: torch.Tensor, answers: torch.Tensor) -> float:
    """Accuracy of logistic regression on the log-odds of the answers under all training codes."""

    def get_features(scores: torch.Tensor) -> np.ndarray:
        return (scores[..., 1:] - scores[..., :1]).transpose(0, 1).flatten(1).numpy()

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(get_features(few), gold.numpy())
    return float((classifier.predict(get_features(evaluation)) == answers.numpy()).mean())


def format_values(values: list[float]) -> str:
    """Write shares as their mean in percent, with the standard deviation where they differ."""
    return format_percent(values if len(set(values)) > 1 else values[:1])


if __name__ == "__main__":
    main()
