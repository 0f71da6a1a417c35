"""Whether to trust a report: intervals, verdicts and warnings for each task."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.aggregation import get_seed_means
from evaluation.method_names import BASELINES, BEST_BY_ACCURACY, BEST_BY_LOSS, KEPT_METHODS, MAJORITY, RAW_LM
from evaluation.score import Score
from evaluation.uncertainty import (
    Comparison,
    Verdict,
    compute_wilson_interval,
    describe_verdict,
    find_guessing,
    find_one_answer,
    find_opposite,
)

PHRASES = {MAJORITY: "the majority class", RAW_LM: "the raw LM"}


@dataclass(frozen=True)
class MethodTrust:
    """How far one method's accuracy on one task can be trusted.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        accuracies: Accuracy with each seed, averaged over templates.
        num_rows: Evaluation rows.
        comparisons: The method beside each baseline, averaged over templates and seeds, by the baseline's name.
        warnings: What speaks against it, as parts of a sentence.
    """

    task: str
    method: str
    accuracies: list[float]
    num_rows: int
    comparisons: dict[str, Comparison]
    warnings: list[str]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return statistics.mean(self.accuracies)

    def describe(self) -> str:
        """Say in a sentence how good the method is, and whether it is better than the baselines."""
        said = describe_verdict(self.method, self.accuracy, self.num_rows, list(self.comparisons.values()))
        return f"{self.task}: {said}"


def assess_methods(scores: Sequence[Score]) -> list[MethodTrust]:
    """Assess each method on each task that has answer choices; old scores, which tell less, are left out."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        if score.accuracy is not None and score.beside is not None:
            groups[score.task, score.method].append(score)
    assessed = []
    for (task, method), group in groups.items():
        num_rows = min(score.num_examples for score in group)
        comparisons = {}
        for baseline, phrase in PHRASES.items():
            if all(baseline in score.beside for score in group):
                shares = [[count / score.num_examples for count in score.beside[baseline]] for score in group]
                wins, losses = (num_rows * statistics.mean(column) for column in zip(*shares, strict=True))
                comparisons[baseline] = Comparison(phrase, wins, losses, num_rows)
        (by_seed,) = get_seed_means(group, lambda score: score.accuracy).values()
        assessed.append(MethodTrust(task, method, list(by_seed.values()), num_rows, comparisons, find_warnings(group)))
    return assessed


def find_warnings(scores: Sequence[Score]) -> list[str]:
    """Find what speaks against one method's scores on one task; each warning once, with how often it holds."""
    found: dict[str, list[str]] = defaultdict(list)
    for score in scores:
        knows = score.few_shot_loss is not None and score.guessing_loss is not None
        if knows and (text := find_guessing(score.few_shot_loss, score.guessing_loss)):
            found["guessing"].append(text)
        if text := find_one_answer(score.predicted_shares):
            found["one answer"].append(text)
        if text := find_opposite(score.predicted_shares, score.accuracy, score.num_examples):
            found["opposite"].append(text)
    return [
        texts[0] if len(scores) == 1 else f"{texts[0]} (so in {len(texts)} of {len(scores)} templates and seeds)"
        for texts in found.values()
    ]


def select_main_methods(assessed: Sequence[MethodTrust]) -> list[MethodTrust]:
    """Select for each task the method that its verdict is about.

    It is the one whose code the checkpoint keeps; else the first that is no baseline. It is not the best one: the best
    of several by the same rows looks better than it is.
    """

    def rank(each: MethodTrust) -> int:
        if each.method in KEPT_METHODS:
            return KEPT_METHODS.index(each.method)
        lesser = (*BASELINES, BEST_BY_LOSS, BEST_BY_ACCURACY)
        return len(KEPT_METHODS) + (1 + lesser.index(each.method) if each.method in lesser else 0)

    by_task: dict[str, list[MethodTrust]] = defaultdict(list)
    for each in assessed:
        by_task[each.task].append(each)
    return [min(group, key=rank) for group in by_task.values()]


def describe_trust(scores: Sequence[Score]) -> list[str]:
    """Give a verdict for each task, and a warning where there is reason for one; sentences."""
    sentences = []
    for each in select_main_methods(assess_methods(scores)):
        sentences.append(each.describe())
        sentences += [f"Warning: {each.task}, {each.method}: {warning}." for warning in each.warnings]
    return sentences


def summarize_trust(scores: Sequence[Score]) -> list[str]:
    """Give the verdicts on many tasks as counts, and the number of tasks with a warning; sentences."""
    main = select_main_methods(assess_methods(scores))
    sentences = []
    for baseline, phrase in PHRASES.items():
        verdicts: list[Verdict] = [m.comparisons[baseline].verdict for m in main if baseline in m.comparisons]
        if verdicts:
            counts = [
                f"{verdict} on {verdicts.count(verdict)}" for verdict in ("better", "not distinguishable", "worse")
            ]
            sentences.append(f"Beside {phrase}, of {len(verdicts)} tasks: {', '.join(counts)}.")
    warned = [each.task for each in main if each.warnings]
    if warned:
        sentences.append(f"Warning: {len(warned)} of {len(main)} tasks have one in the report, such as {warned[0]}.")
    return sentences


def make_trust_table(scores: Sequence[Score]) -> list[list[str]]:
    """Make the table of intervals and comparisons: a row for each method on each task; empty where nothing is known."""
    rows = [["task", "method", "accuracy", "95% interval", "by seed", *PHRASES.values()]]
    for each in assess_methods(scores):
        interval = compute_wilson_interval(each.accuracy, each.num_rows)
        cells = [
            f"{found.verdict} ({100 * found.difference:+.1f})" if (found := each.comparisons.get(name)) else "–"
            for name in PHRASES
        ]
        by_seed = ", ".join(f"{100 * accuracy:.1f}" for accuracy in each.accuracies)
        rows.append([each.task, each.method, f"{100 * each.accuracy:.1f}", str(interval), by_seed, *cells])
    return rows if len(rows) > 1 else []
