"""Evaluating codes on a few examples at a time, and dropping those that can no longer win: exactly, or by a test."""

import math
from collections import deque

import torch
from scipy.special import stdtr

from .results import Evaluation
from .scoring.code_scorer import CodeScorer
from .scoring.objectives import Objective, is_better

# The examples are looked at in portions that end at these shares of them.
PORTION_ENDS = (0.125, 0.25, 0.5, 1.0)
# Portions make smaller batches. They are used where they would have saved this share of the examples, going by the
# last evaluations.
WORTHWHILE, REMEMBERED = 0.15, 64


class Pruner:
    """Evaluates codes by an objective that is a sum of non-negative terms, one per example.

    A code whose terms on some of the examples make it no better than the best one cannot become better, and is
    dropped. Examples that cost most per token come first, as far as the evaluations so far tell. What it does depends
    on nothing but the evaluations told to `learn`, so that a resumed search does the same.

    With `race` a code is also dropped when it could still become better, but is not likely to. Then the examples come in
    an order drawn once, and after each portion a t test compares the code's terms with those of the best one, pair
    by pair, to predict the difference on all examples. A code that would be better is lost with a probability of at
    most `race`, shared equally between the looks, as far as the terms' differences are normal.

    Args:
        scorer: Of the search.
        objective: Of the search.
        race: The error rate; None for exact pruning only.
        seed: Of the order of examples with `race`.
    """

    def __init__(self, scorer: CodeScorer, objective: Objective, race: float | None = None, seed: int = 0):
        self.scorer, self.objective, self.race = scorer, objective, race
        self._drawn = torch.randperm(scorer.num_examples, generator=torch.Generator().manual_seed(seed))
        self._terms_of: dict[float, torch.Tensor] = {}  # terms by value: what a race needs of the best code
        self._term_totals = torch.zeros(scorer.num_examples, dtype=torch.float64)
        self._recent: deque[Evaluation] = deque(maxlen=REMEMBERED)

    def learn(self, evaluation: Evaluation) -> None:
        """Take note of a finished evaluation."""
        self._recent.append(evaluation)
        if evaluation.terms is not None:
            terms = torch.tensor(evaluation.terms, dtype=torch.float64)
            self._term_totals += terms
            if self.race is not None:
                self._terms_of[evaluation.value] = terms

    def evaluate(self, evaluations: list[Evaluation], best: float) -> None:
        """Fill in the evaluations' values and terms or, for codes that turn out no better than `best`, lower bounds."""
        codes = torch.tensor([e.code for e in evaluations])
        lengths = self.scorer.prompt_scorer.lengths + codes.shape[1]
        order = (self._term_totals / lengths).argsort(descending=True, stable=True)
        ends = [self.scorer.num_examples]
        if self.race is not None:
            order = self._drawn
        if math.isfinite(best) and (self.race is not None or self._expected_saving(order, best) >= WORTHWHILE):
            ends = self._portion_ends()
        terms = torch.zeros(len(codes), len(order), dtype=torch.float64)
        alive = list(range(len(codes)))
        seen = 0
        for end in ends:
            # A portion holds a batch at least.
            tokens = len(alive) * int(lengths[order[seen:end]].sum())
            if not alive or (end < len(order) and tokens < self.scorer.prompt_scorer.first_token_budget):
                continue
            chosen, seen = order[seen:end], end
            rows = torch.tensor(alive)
            terms[rows[:, None], chosen] = self.objective.terms(self.scorer, codes[rows], chosen).double()
            values = self.objective.value(terms.sum(1), len(order)).tolist()
            for index in alive:
                if end == len(order):
                    evaluations[index].value, evaluations[index].terms = values[index], terms[index].tolist()
                elif not is_better(values[index], best) or self._has_lost(
                    terms[index, order[:end]], order[:end], best
                ):
                    evaluations[index].at_least, evaluations[index].examples_left = values[index], len(order) - end
                    evaluations[index].raced = is_better(values[index], best)
            alive = [index for index in alive if evaluations[index].at_least is None]

    def _has_lost(self, terms: torch.Tensor, seen: torch.LongTensor, best: float) -> bool:
        """Whether terms `(n,)` of the examples seen so far make it unlikely that all together become less than `best`."""
        if self.race is None or best not in self._terms_of or len(seen) < 2:
            return False
        differences = terms - self._terms_of[best][seen]
        count, left = len(seen), len(self._drawn) - len(seen)
        # Of the sum over all examples, given those seen: the rest has their mean, and a deviation of
        # deviation * sqrt(left + left^2 / count) around it.
        expected = differences.mean().item() * len(self._drawn)
        deviation = differences.std().item() * math.sqrt(left * len(self._drawn) / count)
        if deviation == 0:
            return expected > 0
        looks = len(self._portion_ends()) - 1
        return stdtr(count - 1, -expected / deviation) < self.race / looks

    def _portion_ends(self) -> list[int]:
        count = self.scorer.num_examples
        return sorted({math.ceil(share * count) for share in PORTION_ENDS})

    def _expected_saving(self, order: torch.LongTensor, best: float) -> float:
        """Share of the examples that portions would have saved on the last evaluations."""
        count = len(order)
        left = [e.examples_left for e in self._recent if e.terms is None]
        for evaluation in self._recent:
            if evaluation.terms is None:
                continue
            sums = torch.tensor(evaluation.terms, dtype=torch.float64)[order].cumsum(0)
            partial = self.objective.value(sums, count).tolist()
            left.append(
                next((count - end for end in self._portion_ends() if not is_better(partial[end - 1], best)), 0)
            )
        return sum(left) / (len(left) * count) if left else 0.0
