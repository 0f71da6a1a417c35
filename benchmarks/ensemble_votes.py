"""Ways to choose a code without labels, all on the same answers of the training codes.

    python benchmarks/scenes.py --models_only --seeds 10 11 12 --output_dir out/scenes    # once
    python benchmarks/ensemble_votes.py out/votes --scenes out/scenes --seeds 10 11 12
    python benchmarks/ensemble_votes.py out/votes                                         # the table alone

A way is a function of choice scores `(num_codes, num_examples, num_choices)` of unlabelled rows; it returns the index of a
code and the vote `(num_examples, num_choices)`. The table has the accuracy of that code on the evaluation rows, and that of
the vote itself, taken over the evaluation rows. The scores are kept as `SEED_TASK.npz`, with arrays `unlabelled` and
`evaluation` of such scores and `answers` `(num_examples,)`: files of other models and tasks may be put beside them.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, installed or not

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.special import softmax
from search_quality import SHOTS, UNLABELLED, Case, scenes_cases
from transformers import AutoTokenizer

from modeling_ctr import CTRForConditionalGeneration
from search import CodeScorer
from search.ensemble_filter import choose_voters, compute_bias
from tasks import FeatureBuilder, few_shot_split, load_rows

Choice = tuple[int, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the scores are kept")
    parser.add_argument("--scenes", type=Path, help="an `output_dir` of benchmarks/scenes.py to make scores of")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10, 20)))
    parser.add_argument("--num_tasks", type=int, default=12)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    if args.scenes is not None:
        args.directory, kept = args.scenes, args.directory
        for case in scenes_cases(args):
            path = kept / f"{case.seed}_{case.task.name.split('/')[1]}.npz"
            if not path.is_file():
                np.savez(path, **compute_scores(case))
        args.directory = kept
    files = [path for path in sorted(args.directory.glob("*.npz")) if int(path.stem.split("_")[0]) in args.seeds]
    print(make_table(files))


def compute_scores(case: Case) -> dict[str, np.ndarray]:
    """Score the training codes on 128 training rows and on the evaluation rows of a task."""
    model = CTRForConditionalGeneration.from_pretrained(case.model)
    builder = FeatureBuilder(AutoTokenizer.from_pretrained(case.tokenizer), case.max_source_length, 4)
    rows = load_rows(case.task.dataset, case.task.source)
    drawn = rows.train.select(sorted(random.Random(case.seed).sample(range(len(rows.train)), UNLABELLED)))
    chosen = {"unlabelled": drawn, "evaluation": few_shot_split(case.task, rows, SHOTS, case.seed).evaluation}
    scorers = {name: CodeScorer(model, builder.evaluation(case.task, each)) for name, each in chosen.items()}
    scores = {name: each.choice_log_likelihoods(model.task_codes()).numpy() for name, each in scorers.items()}
    return {**scores, "answers": scorers["evaluation"].require_answers("The accuracy").numpy()}


# ------------------------------------------------------------------------------------------------ what they share


def count_votes(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum the weights of the codes that predict each choice, `(num_examples, num_choices)`."""
    predictions = scores.argmax(2)
    return np.stack([weights @ (predictions == choice) for choice in range(scores.shape[2])], axis=1)


def choose_by_agreement(scores: np.ndarray, votes: np.ndarray, voters: np.ndarray) -> Choice:
    """Choose the voter that agrees most often with the vote."""
    agreement = (scores.argmax(2) == votes.argmax(1)).mean(1)
    return int(np.where(voters, agreement, -1).argmax()), votes


def vote_weighted(scores: np.ndarray, weights: np.ndarray) -> Choice:
    return choose_by_agreement(scores, count_votes(scores, weights), weights > 0)


def compute_shares(scores: np.ndarray) -> np.ndarray:
    """Compute how often each code predicts each choice, `(num_codes, num_choices)`."""
    return np.stack([(scores.argmax(2) == choice).mean(1) for choice in range(scores.shape[2])], axis=1)


def compute_entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-12))).sum(-1)


def compute_information(scores: np.ndarray) -> np.ndarray:
    """Compute the mutual information of each code's answer and the input: H(mean p) - mean H(p), `(num_codes,)`."""
    p = softmax(scores, 2)
    return compute_entropy(p.mean(1)) - compute_entropy(p).mean(1)


def compute_kappas(scores: np.ndarray) -> np.ndarray:
    """Compute how much more often than by chance each two codes agree, `(num_codes, num_codes)`, at most 1."""
    predictions, shares = scores.argmax(2), compute_shares(scores)
    agreement = (predictions[:, None] == predictions[None]).mean(2)
    expected = shares @ shares.T
    return (agreement - expected) / np.maximum(1 - expected, 1e-6)


# ------------------------------------------------------------------------------------------------------- the ways


def vote_majority(scores: np.ndarray) -> Choice:
    return vote_weighted(scores, np.ones(len(scores)))


def vote_balanced(scores: np.ndarray, count: int) -> Choice:
    shares = compute_shares(scores)
    voters = choose_voters(compute_bias(shares, np.full(shares.shape[1], 1 / shares.shape[1])), count)
    return vote_weighted(scores, voters.astype(float))


def vote_by_confidence(scores: np.ndarray) -> Choice:
    return choose_by_agreement(scores, softmax(scores, 2).sum(0), np.ones(len(scores), bool))


def vote_by_reliability(scores: np.ndarray, rounds: int = 20) -> Choice:
    """Weight voters by how far they agree with the vote, again and again (Dawid and Skene, one parameter a code)."""
    chance, weights = 1 / scores.shape[2], np.ones(len(scores))
    predictions = scores.argmax(2)
    for _ in range(rounds):
        posterior = softmax(count_votes(scores, weights), 1)
        right = np.array([posterior[np.arange(len(posterior)), each].mean() for each in predictions])
        right = np.clip(right, chance + 0.01, 0.99)
        weights = np.log(right / (1 - right) / chance * (1 - chance))
    return choose_by_agreement(scores, count_votes(scores, weights), np.ones(len(scores), bool))


def vote_in_cluster(scores: np.ndarray, threshold: float) -> Choice:
    """Cluster codes by their answers; the largest cluster votes."""
    distances = np.maximum(1 - compute_kappas(scores), 0)
    np.fill_diagonal(distances, 0)
    clusters = fcluster(linkage(squareform(distances, checks=False), "average"), threshold, "distance")
    largest = np.bincount(clusters).argmax()
    return vote_weighted(scores, (clusters == largest).astype(float))


def vote_with_neighbors(scores: np.ndarray, count: int) -> Choice:
    """Choose the code that its nearest codes agree with most; these vote."""
    kappas = compute_kappas(scores)
    np.fill_diagonal(kappas, -1)
    chosen = int(np.sort(kappas, 1)[:, -count:].mean(1).argmax())
    weights = np.zeros(len(scores))
    weights[[chosen, *np.argsort(-kappas[chosen])[:count]]] = 1
    return chosen, count_votes(scores, weights)


def choose_by_information(scores: np.ndarray) -> Choice:
    chosen = int(compute_information(scores).argmax())
    return chosen, softmax(scores[chosen], 1)


def vote_by_information(scores: np.ndarray, count: int | None = None) -> Choice:
    """Weight voters by their information; with a count, the votes of so many that have most of it are equal."""
    information = compute_information(scores)
    if count is None:
        return vote_weighted(scores, information)
    return vote_weighted(scores, (information >= np.sort(information)[-count]).astype(float))


def choose_by_shared_information(scores: np.ndarray) -> Choice:
    """Choose the code whose answers say most about the weighted vote of the others."""
    p, information = softmax(scores, 2), compute_information(scores)
    weighted = information[:, None, None] * p
    shared = []
    for code, own in enumerate(weighted):
        others = weighted.sum(0) - own
        joint = p[code].T @ (others / others.sum(1, keepdims=True)) / len(others)
        independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        shared.append((joint * np.log(np.maximum(joint, 1e-12) / np.maximum(independent, 1e-12))).sum())
    chosen = int(np.argmax(shared))
    return chosen, p[chosen]


WAYS: dict[str, Callable[[np.ndarray], Choice]] = {
    "majority of all (today's)": vote_majority,
    "majority of the 10 least biased": lambda scores: vote_balanced(scores, 10),
    "sum of probabilities": vote_by_confidence,
    "weighted by agreement (Dawid-Skene)": vote_by_reliability,
    "largest cluster of answers, distance under 0.7": lambda scores: vote_in_cluster(scores, 0.7),
    "largest cluster of answers, distance under 0.5": lambda scores: vote_in_cluster(scores, 0.5),
    "closest to its 2 neighbors": lambda scores: vote_with_neighbors(scores, 2),
    "closest to its 4 neighbors": lambda scores: vote_with_neighbors(scores, 4),
    "most mutual information": choose_by_information,
    "weighted by mutual information": vote_by_information,
    "majority of the 5 with most of it": lambda scores: vote_by_information(scores, 5),
    "most information shared with the others": choose_by_shared_information,
}


def make_table(files: list[Path]) -> str:
    """Make a line per way: mean over tasks for each seed, then mean and deviation over seeds."""
    accuracies: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        seed = path.stem.split("_")[0]
        with np.load(path) as arrays:
            scores = {name: arrays[name].astype(np.float64) for name in ("unlabelled", "evaluation")}
            answers = arrays["answers"]
        of_codes = (scores["evaluation"].argmax(2) == answers).mean(1)
        accuracies["mean of the codes"][seed].append((of_codes.mean(), of_codes.mean()))
        accuracies["best of the codes (oracle)"][seed].append((of_codes.max(), of_codes.max()))
        for name, way in WAYS.items():
            (code, _), (_, votes) = way(scores["unlabelled"]), way(scores["evaluation"])
            accuracies[name][seed].append((of_codes[code], (votes.argmax(1) == answers).mean()))
    lines = [f"{len(files)} tasks, seeds {sorted({path.stem.split('_')[0] for path in files})}.", ""]
    lines += ["| way | code | lowest task | the vote itself |", "|---|---|---|---|"]
    for name, by_seed in accuracies.items():
        means = np.array([np.mean(values, axis=0) for values in by_seed.values()]) * 100
        deviations = [f" ± {each:.1f}" for each in means.std(axis=0, ddof=1)] if len(means) > 1 else ["", ""]
        cells = [f"{mean:.1f}{each}" for mean, each in zip(means.mean(axis=0), deviations, strict=True)]
        lowest = min(code for values in by_seed.values() for code, _ in values)
        lines.append(f"| {name} | {cells[0]} | {100 * lowest:.1f} | {cells[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
