"""Evaluating codes on a few examples at a time, and dropping those that can no longer win."""

import math
from collections import deque

import torch

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

    Args:
        scorer: Of the search.
        objective: Of the search.
    """

    def __init__(self, scorer: CodeScorer, objective: Objective):
        self.scorer, self.objective = scorer, objective
        self._term_totals = torch.zeros(scorer.num_examples, dtype=torch.float64)
        self._recent: deque[Evaluation] = deque(maxlen=REMEMBERED)

    def learn(self, evaluation: Evaluation) -> None:
        """Take note of a finished evaluation."""
        self._recent.append(evaluation)
        if evaluation.terms is not None:
            self._term_totals += torch.tensor(evaluation.terms, dtype=torch.float64)

    def evaluate(self, evaluations: list[Evaluation], best: float) -> None:
        """Fill in the evaluations' values and terms or, for codes that turn out no better than `best`, lower bounds."""
        codes = torch.tensor([e.code for e in evaluations])
        lengths = self.scorer.prompt_scorer.lengths + codes.shape[1]
        order = (self._term_totals / lengths).argsort(descending=True, stable=True)
        ends = [self.scorer.num_examples]
        if math.isfinite(best) and self._expected_saving(order, best) >= WORTHWHILE:
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
                elif not is_better(values[index], best):
                    evaluations[index].at_least, evaluations[index].examples_left = values[index], len(order) - end
            alive = [index for index in alive if evaluations[index].at_least is None]

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
