"""Bitwise Search: a task's code from a few labelled examples, one position at a time (paper, section 3.4.2)."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict

from .code_search import CodeSearch, CodeSearchResult, vary_code
from .pruning import Pruner
from .results import ScoredCode
from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace
from .scoring.objectives import Objective, is_better, require_gradients
from .task_code_search import first_best
from .trial_runner import Key, TrialRunner
from .trials import Trial


@strict
@dataclass
class BitwiseSearchResult(CodeSearchResult):
    """Result of [`BitwiseSearch`].

    Args:
        stopped: Why it ended (of the last start): also "local_optimum", "patience" or "epochs".
        starts: The code each start began with, with its value.
        best_of_starts: The best code each start found.
        positions: The positions that were varied, in order, for each start; that of the most promising code with
            gradients.
        pairs_pruned: Pairs of a code and an example that pruning left out.
        order: "random", "cyclic" or "gradient".
        gradients: Number of backward passes over all examples. One takes about as long as three evaluations.
    """

    starts: list[ScoredCode]
    best_of_starts: list[ScoredCode]
    positions: list[list[int]]
    pairs_pruned: int
    order: str
    gradients: int = 0


class BitwiseSearch(CodeSearch[BitwiseSearchResult]):
    """Vary one position of the best code, keep what is better, until no single position can improve it.

    At each step a position is chosen and every value that it may take is tried in the code that was best before the
    step, all in one batch. No code is evaluated twice. A code is better if its value is lower by more than rounding
    (see `objectives.is_better`). Many starts and a budget make a search with restarts: each start code is improved in
    turn, the best result wins. Where start codes are not given, the starts are the `num_starts` best of the training
    tasks' codes, evaluated here.

    With the order "gradient" it does not go position by position: at each step it tries the codes that differ from the
    best at one position, were not tried yet and promise most by the gradient of the objective (one backward pass for
    each new best code, see [`rank_variants`]).

    A start takes at most `search_epochs * code_length` steps. It ends earlier when all positions were tried since the
    last improvement: nothing new could be evaluated after that.

    Pruning leaves the found code, its value and the order of decisions as they are; what is known of the other codes
    becomes less. It is left out for objectives that are not sums over examples.

    Arguments are those of [`CodeSearch`].
    """

    description = "bitwise search"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        config = self.config
        if config.search_order == "gradient":
            require_gradients(self.objective)
        self.num_starts = len(self.start_codes) if self.has_given_starts else config.num_starts
        self.patience = config.gradient_patience
        if self.patience is None and self.num_starts > 1:
            self.patience = 2

    # ------------------------------------------------------------------------------------------- the search

    def _search(self, runner: TrialRunner) -> str:
        self._gradients = 0
        self._starts: list[ScoredCode] = []
        self._bests: list[ScoredCode] = []
        self._positions: list[list[int]] = []
        self._starts_left: list[Key] = []
        runner.state.count_codes_left = lambda: self._count_codes_left(runner)
        runner.run([Trial(0, -1, None, list(key)) for key in self.start_codes])
        draws = random.Random(self.seed)
        chosen = self._rank_starts(runner)[: self.num_starts]
        stopped = "epochs"
        for number, key in enumerate(chosen):
            self._starts_left = chosen[number + 1 :]
            self._starts.append(ScoredCode(list(key), runner.value(key)))
            self._bests.append(self._starts[-1])
            self._positions.append([])
            if self.config.search_order == "gradient":
                stopped = self._improve_by_gradient(runner, number)
            else:
                stopped = self._improve(runner, number, draws)
            if runner.ended is not None:
                break
        return stopped

    def _rank_starts(self, runner: TrialRunner) -> list[Key]:
        """The codes to start from, in order: as given, or the best first; those within the budget."""
        starts = [key for key in self.start_codes if key in runner.known]
        if self.has_given_starts:
            return starts
        # The first of equals wins, as in the training-code search.
        best = starts[first_best([runner.value(key) for key in starts])]
        return sorted(starts, key=lambda key: (key != best, runner.value(key)))

    def _improve(self, runner: TrialRunner, start: int, draws: random.Random) -> str:
        """Improve the last of `_bests` in place, noting the varied positions; returns why it ended."""
        length = len(self.code_space)
        tried: set[int] = set()  # positions tried since the last improvement
        for step in range(self.config.search_epochs * length):
            position = draws.randint(0, length - 1) if self.config.search_order == "random" else step % length
            self._positions[-1].append(position)
            code = tuple(self._bests[-1].code)
            variants = [vary_code(code, position, value) for value in self.code_space[position]]
            tried.add(position)
            if self._try(runner, start, step, dict.fromkeys(variants, position)):
                tried = {position}
            if runner.ended is not None:
                return runner.ended
            if len(tried) == length:
                return "local_optimum"
        return "epochs"

    def _improve_by_gradient(self, runner: TrialRunner, start: int) -> str:
        """As `_improve`; a step tries the most promising variants of the code, whatever their positions."""
        candidates = self.config.gradient_candidates
        ranked: list[tuple[int, int]] | None = None  # variants of the best code, the most promising first
        since = 0  # steps since the last improvement
        for step in range(self.config.search_epochs * len(self.code_space)):
            code, value = tuple(self._bests[-1].code), self._bests[-1].loss
            self._gradients += since == 0
            # A step that stands in the trace needs no gradient, unless it is the last and may be incomplete.
            variants = {tuple(trial.code): trial.position for trial in runner.recorded(start, step)}
            if len(variants) < candidates:
                if ranked is None:
                    ranked = rank_variants(self.scorer, self.objective, code, self.code_space)
                untried = {vary_code(code, i, v): i for i, v in ranked}
                untried = {key: i for key, i in untried.items() if runner.is_open(key, value)}
                for key, position in untried.items():
                    if len(variants) < candidates:
                        variants.setdefault(key, position)
            if not variants:
                return "local_optimum"
            self._positions[-1].append(next(iter(variants.values())))
            since += 1
            if self._try(runner, start, step, variants):
                ranked, since = None, 0
            if runner.ended is not None:
                return runner.ended
            if since == self.patience:
                return "patience"
        return "epochs"

    def _try(self, runner: TrialRunner, start: int, step: int, variants: dict[Key, int]) -> bool:
        """Evaluate codes, given with the position that is varied; whether one of them is now the last of `_bests`."""
        value = self._bests[-1].loss
        runner.run(
            [
                Trial(start, step, position, list(key))
                for key, position in variants.items()
                if runner.is_open(key, value)
            ],
            value,
        )
        for key in variants:
            if is_better(runner.value(key), self._bests[-1].loss):
                self._bests[-1] = ScoredCode(list(key), runner.value(key))
        return self._bests[-1].loss != value

    # ------------------------------------------------------------------------------ what the base class asks for

    def _has_result(self) -> bool:
        return bool(self._bests)

    def _make_result(self, runner: TrialRunner, common: dict[str, Any]) -> BitwiseSearchResult:
        best = self._bests[first_best([found.loss for found in self._bests])]
        return BitwiseSearchResult(
            code=best.code,
            loss=best.loss,
            starts=self._starts,
            best_of_starts=self._bests,
            positions=self._positions,
            pairs_pruned=sum(trial.examples_left for trial in runner.known.values()),
            order=self.config.search_order,
            gradients=self._gradients,
            **common,
        )

    def _get_settings(self) -> dict[str, object]:
        config = self.config
        settings = {
            "order": config.search_order,
            "num_starts": self.num_starts,
            "prune": self._make_pruner() is not None,
        }
        if config.search_order == "gradient":
            settings |= {"candidates": config.gradient_candidates, "patience": self.patience}
        return settings

    def _make_pruner(self) -> Pruner | None:
        is_sum = isinstance(self.objective, Objective)
        return Pruner(self.scorer, self.objective) if self.config.prune and is_sum else None

    def _count_codes_left(self, runner: TrialRunner) -> int:
        """The codes next to the best, and next to the coming starts."""
        if not self._bests:
            untried = sum(key not in runner.known for key in self.start_codes)
            return untried + self.num_starts * sum(len(values) - 1 for values in self.code_space)
        best = runner.state.best if len(self._bests) == 1 else self._bests[-1]
        bounds = [(tuple(best.code), best.loss), *((key, runner.value(key)) for key in self._starts_left)]
        return sum(
            runner.is_open(vary_code(code, position, value), bound)
            for code, bound in bounds
            for position, values in enumerate(self.code_space)
            for value in values
        )


def rank_variants(
    scorer: CodeScorer, objective: Objective, code: tuple[int, ...], code_space: CodeSpace
) -> list[tuple[int, int]]:
    """Rank all `(position, value)` that differ from the code, the largest first-order decrease of the objective first.

    Replacing the vector p at a position by v changes the loss by about gradient . (v - p). Steps between code vectors
    are long, so that this only ranks: what is promising has to be evaluated.
    """
    model = scorer.model
    with torch.no_grad():
        prompt = model.prompt_vectors(torch.tensor([code], device=model.device))
        # One table serves all positions: row i of `vectors` is that of value i.
        values = torch.arange(model.config.codebook_size, device=model.device)
        vectors = model.prompt_vectors(values[:, None].expand(-1, len(code)))[:, 0]
    _, gradients = objective.gradients(scorer.prompt_scorer, prompt, None)
    gradient, prompt, vectors = (tensor.cpu().double() for tensor in (gradients[0], prompt[0], vectors))
    decrease = (gradient * prompt).sum(1, keepdim=True) - gradient @ vectors.T  # (code_length, codebook_size)
    decrease = decrease.tolist()
    variants = [(i, v) for i, values in enumerate(code_space) for v in values if v != code[i]]
    return sorted(variants, key=lambda variant: -decrease[variant[0]][variant[1]])  # stable: of equals the first
