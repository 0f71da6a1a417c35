"""Evaluating codes on a few examples at a time, and dropping those that can no longer win."""

import math
from collections import deque

import torch

from .scoring.code_scorer import CodeScorer
from .scoring.objectives import Objective, is_better
from .trials import Trial

# The examples are looked at in portions that end at these shares of them.
PORTION_ENDS = (0.125, 0.25, 0.5, 1.0)
# Portions make smaller batches. They are used where they would have saved this share of the examples, going by the
# last trials.
WORTHWHILE, REMEMBERED = 0.15, 64


class Pruner:
    """Evaluates codes by an objective that is a sum of non-negative terms, one per example.

    A code whose terms on some of the examples make it no better than the best one cannot become better, and is
    dropped. What this does depends on nothing but the trials told to `learn`, so that a resumed search does the same.

    Args:
        scorer: Scores the search's examples.
        objective: What the search minimizes.
    """

    def __init__(self, scorer: CodeScorer, objective: Objective):
        self.scorer, self.objective = scorer, objective
        self._term_totals = torch.zeros(scorer.num_examples, dtype=torch.float64)
        self._recent: deque[Trial] = deque(maxlen=REMEMBERED)

    def learn(self, trial: Trial) -> None:
        """Take note of a finished trial."""
        self._recent.append(trial)
        if trial.terms is not None:
            self._term_totals += torch.tensor(trial.terms, dtype=torch.float64)

    def evaluate(self, trials: list[Trial], best: float) -> None:
        """Fill in the trials' values and terms or, for codes that turn out no better than `best`, lower bounds."""
        codes = torch.tensor([trial.code for trial in trials])
        count = self.scorer.num_examples
        lengths = self.scorer.prompt_scorer.reader.get_lengths(codes.shape[1])
        # Examples that add most to the sum per token that they cost come first: they show soonest that a code is too bad.
        order = (self._term_totals / lengths).argsort(descending=True, stable=True)
        # Against no bound nothing can be dropped; and where little would be, whole batches are faster than portions.
        portions = math.isfinite(best) and self._expected_saving(order, best) >= WORTHWHILE
        ends = self._portion_ends() if portions else [count]
        terms = torch.zeros(len(codes), count, dtype=torch.float64)
        alive = list(range(len(codes)))
        seen = 0
        for end in ends:
            # A portion that would not fill a batch is left to the next one. The budget asked is the first, not what
            # memory or speed made of it: processes and resumed runs must take the same portions.
            tokens = len(alive) * int(lengths[order[seen:end]].sum())
            if not alive or (end < count and tokens < self.scorer.prompt_scorer.first_token_budget):
                continue
            chosen, seen = order[seen:end], end
            rows = torch.tensor(alive)
            terms[rows[:, None], chosen] = self.objective.terms(self.scorer, codes[rows], chosen).double()
            # Terms are not negative: the value of those seen so far is a lower bound of the code's value.
            values = self.objective.value(terms.sum(1), count).tolist()
            for index in alive:
                trial = trials[index]
                if end == count:
                    trial.value, trial.terms = values[index], terms[index].tolist()
                elif not is_better(values[index], best):
                    trial.at_least, trial.examples_left = values[index], count - end
            alive = [index for index in alive if trials[index].at_least is None]

    def _portion_ends(self) -> list[int]:
        count = self.scorer.num_examples
        return sorted({math.ceil(share * count) for share in PORTION_ENDS})

    def _expected_saving(self, order: torch.LongTensor, best: float) -> float:
        """Share of the examples that portions would have saved on the last trials."""
        count = len(order)
        # Of pruned trials it is known what they saved; the others are gone through once more, portion by portion.
        left = [trial.examples_left for trial in self._recent if trial.terms is None]
        for trial in self._recent:
            if trial.terms is None:
                continue
            sums = torch.tensor(trial.terms, dtype=torch.float64)[order].cumsum(0)
            partial = self.objective.value(sums, count).tolist()
            left.append(
                next((count - end for end in self._portion_ends() if not is_better(partial[end - 1], best)), 0)
            )
        return sum(left) / (len(left) * count) if left else 0.0
