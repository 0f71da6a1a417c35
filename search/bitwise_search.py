"""Bitwise Search: a task's code from a few labelled examples, one position at a time (paper, section 3.4.2)."""

import hashlib
import json
import os
import random
from collections.abc import Sequence
from typing import Literal

import torch
from transformers.utils import logging

from .evaluations import Evaluations, Key
from .gradient_guide import promising_variants
from .pruning import Pruner
from .results import BitwiseSearchResult, Evaluation, ScoredCode
from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace, check_codes
from .scoring.objectives import (
    Objective,
    UserObjective,
    is_better,
    objective_name,
    require_gradients,
    resolve_objective,
)
from .scoring.processes import num_processes
from .task_code_search import first_best

logger = logging.get_logger(__name__)


class BitwiseSearch:
    """Vary one position of the best code, keep what is better, until no single position can improve it.

    At each step a position is chosen and every value that it may take is tried in the code that was best before the
    step, all in one batch. No code is evaluated twice. A code is better if its value is lower by more than rounding
    (see `objectives.is_better`).

    Args:
        scorer: Scores the task's labelled examples (with a callable objective: whatever that takes).
        code_space: The values each position may take, e.g. of `task_code_space(model)`.
        objective: What to minimise, see [`resolve_objective`]. The paper's is "loss".
        start_codes: `(num_starts, code_length)` or `(code_length,)`: each is improved in turn, the best result wins.
            Default: the `num_starts` best of the training tasks' codes, evaluated here.
        num_starts: Number of starts where `start_codes` are not given.
        order: "random": a position drawn with replacement at each step, as in the original. "cyclic": one after the
            other. "gradient": not position by position, but at each step the `candidates` codes that differ from the
            best at one position, were not tried yet and promise most by the gradient of the objective (one backward
            pass for each new best code, see [`promising_variants`]).
        candidates: Codes of a step with `order="gradient"`.
        patience: With `order="gradient"`, a start ends after so many steps without an improvement. Default: 2 where
            there are several starts; a single one goes on until all codes next to the best were tried.
        epochs: A start takes at most `epochs * code_length` steps. It ends earlier when all positions were tried
            since the last improvement: nothing new could be evaluated after that.
        seed: Of the random walk. Each search has a generator of its own.
        max_evaluations: End after so many distinct codes. Many starts and a budget make a search with restarts.
        max_seconds: End after so many seconds of this run. A search that is ended by the clock cannot be repeated
            exactly; its trace tells how it went.
        top_k: How many of the best codes to return.
        prune: Stop evaluating a code once its terms on some of the examples show that it cannot become better, where
            that is likely to save time.
            The found code, its value and the order of decisions stay the same; what is known of the other codes
            (`trace`, `top`) becomes less. Ignored for objectives that are not sums over examples.
        trace_path: A file that every evaluation is appended to. If it is there, its evaluations are not repeated.
        progress: Show a bar.

    Raises:
        ValueError: The code space or a start code does not fit, or an argument is out of range.
    """

    def __init__(
        self,
        scorer: CodeScorer,
        code_space: CodeSpace,
        objective: str | Objective | UserObjective | None = None,
        start_codes: torch.LongTensor | Sequence[Sequence[int]] | Sequence[int] | None = None,
        num_starts: int = 1,
        order: Literal["random", "cyclic", "gradient"] = "random",
        candidates: int = 16,
        patience: int | None = None,
        epochs: int = 20,
        seed: int = 42,
        max_evaluations: int | None = None,
        max_seconds: float | None = None,
        top_k: int = 10,
        prune: bool = False,
        trace_path: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.code_space = [sorted(set(values)) for values in code_space]
        if not self.code_space or not all(self.code_space):
            raise ValueError("The code space must list at least one value for every position.")
        if order not in ("random", "cyclic", "gradient"):
            raise ValueError(f"There is no order '{order}': choose 'random', 'cyclic' or 'gradient'.")
        at_least_1 = {"num_starts": num_starts, "epochs": epochs, "top_k": top_k, "candidates": candidates}
        at_least_1 |= {"max_evaluations": max_evaluations, "patience": patience}
        for name, value in at_least_1.items():
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        self.scorer = scorer
        self.objective = resolve_objective(objective, scorer)
        self.given_starts = start_codes is not None
        if start_codes is not None:
            start_codes = torch.as_tensor(start_codes)
            starts = check_codes(start_codes[None] if start_codes.dim() == 1 else start_codes)
        else:
            starts = check_codes(scorer.model.task_codes())
        if starts.shape[1] != len(self.code_space):
            raise ValueError(
                f"The start codes have {starts.shape[1]} positions, but the code space has {len(self.code_space)}."
            )
        self.candidate_starts: list[Key] = [*dict.fromkeys(tuple(code) for code in starts.tolist())]
        self.num_starts = len(self.candidate_starts) if self.given_starts else num_starts
        if order == "gradient":
            require_gradients(self.objective)
        self.order, self.epochs, self.seed, self.top_k = order, epochs, seed, top_k
        self.candidates = candidates
        self.patience = 2 if patience is None and self.num_starts > 1 else patience
        self.max_evaluations, self.max_seconds = max_evaluations, max_seconds
        self.prune = prune and isinstance(self.objective, Objective)
        self.trace_path = trace_path
        self.progress = progress

    # ------------------------------------------------------------------------------------------- the search

    def run(self) -> BitwiseSearchResult:
        """Search. Ctrl-C ends it with the best code so far.

        In a run of several processes all of them call this and return the same; the main one writes the trace.

        Raises:
            ValueError: `trace_path` holds the trace of another search.
            KeyboardInterrupt: Interrupted before any code was evaluated, or in a run of several processes, which may be
                at different points then: start it again to go on.
        """
        evaluations = self._evaluations = Evaluations(
            self.scorer,
            self.objective,
            self._header,
            "bitwise search",
            Pruner(self.scorer, self.objective) if self.prune else None,
            self.max_evaluations,
            self.max_seconds,
            self.trace_path,
            self.progress,
        )
        self._gradients = 0
        starts: list[ScoredCode] = []
        bests: list[ScoredCode] = []
        positions: list[list[int]] = []
        stopped = "epochs"
        try:
            evaluations.evaluate([Evaluation(0, -1, None, list(key), None) for key in self.candidate_starts])
            draws = random.Random(self.seed)
            chosen = self._ranked_starts()[: self.num_starts]
            for number, key in enumerate(chosen):
                starts.append(ScoredCode(list(key), evaluations.value(key)))
                bests.append(starts[-1])
                self._starts_left = chosen[number + 1 :]
                self._show(0, bests[-1])
                positions.append([])
                if self.order == "gradient":
                    stopped = self._improve_by_gradient(number, bests, positions[-1])
                else:
                    stopped = self._improve(number, draws, bests, positions[-1])
                if evaluations.ended is not None:
                    break
        except KeyboardInterrupt:
            if not bests or num_processes() > 1:
                raise
            stopped = "interrupted"
            logger.warning("The search was interrupted; its result is the best code so far.")
        finally:
            evaluations.close()
        best = bests[first_best([found.loss for found in bests])]
        return BitwiseSearchResult(
            code=best.code,
            loss=best.loss,
            objective=objective_name(self.objective),
            evaluations=len(evaluations.known),
            gradients=self._gradients,
            stopped=stopped,
            starts=starts,
            best_of_starts=bests,
            positions=positions,
            top=evaluations.top(self.top_k),
            trace=evaluations.trace,
            pairs_pruned=sum(e.examples_left for e in evaluations.known.values()),
            seed=self.seed,
            order=self.order,
        )

    def _ranked_starts(self) -> list[Key]:
        """The codes to start from, in order: as given, or the best first; those within the budget."""
        value = self._evaluations.value
        starts = [key for key in self.candidate_starts if key in self._evaluations.known]
        if self.given_starts:
            return starts
        # The first of equals wins, as in the training-code search.
        best = starts[first_best([value(key) for key in starts])]
        return sorted(starts, key=lambda key: (key != best, value(key)))

    def _improve(self, start: int, draws: random.Random, bests: list[ScoredCode], positions: list[int]) -> str:
        """Improve the code `bests[-1]` in place, noting the varied positions; returns why it ended."""
        length = len(bests[-1].code)
        tried: set[int] = set()  # positions tried since the last improvement
        for step in range(self.epochs * length):
            position = draws.randint(0, length - 1) if self.order == "random" else step % length
            positions.append(position)
            code = tuple(bests[-1].code)
            variants = [varied(code, position, value) for value in self.code_space[position]]
            tried.add(position)
            if self._try(start, step, dict.fromkeys(variants, position), bests):
                tried = {position}
            if self._evaluations.ended is not None:
                return self._evaluations.ended
            if len(tried) == length:
                return "local_optimum"
        return "epochs"

    def _improve_by_gradient(self, start: int, bests: list[ScoredCode], positions: list[int]) -> str:
        """As `_improve`; a step tries the most promising variants of the code, whatever their positions."""
        length = len(bests[-1].code)
        evaluations = self._evaluations
        ranked: list[tuple[int, int]] | None = None  # variants of the best code, the most promising first
        since = 0  # steps since the last improvement
        for step in range(self.epochs * length):
            code, value = tuple(bests[-1].code), bests[-1].loss
            self._gradients += since == 0
            # A step that stands in the trace needs no gradient, unless it is the last and may be incomplete.
            variants = {tuple(e.code): e.position for e in evaluations.recorded(start, step)}
            if len(variants) < self.candidates:
                if ranked is None:
                    ranked = promising_variants(self.scorer, self.objective, code, self.code_space)
                untried = {varied(code, i, v): i for i, v in ranked}
                untried = {key: i for key, i in untried.items() if evaluations.is_open(key, value)}
                for key, position in untried.items():
                    if len(variants) < self.candidates:
                        variants.setdefault(key, position)
            if not variants:
                return "local_optimum"
            positions.append(next(iter(variants.values())))
            since += 1
            if self._try(start, step, variants, bests):
                ranked, since = None, 0
            if evaluations.ended is not None:
                return evaluations.ended
            if since == self.patience:
                return "patience"
        return "epochs"

    def _try(self, start: int, step: int, variants: dict[Key, int], bests: list[ScoredCode]) -> bool:
        """Evaluate codes, given with the position that is varied; whether one of them is now `bests[-1]`."""
        value = bests[-1].loss
        new = [
            Evaluation(start, step, position, list(key), None)
            for key, position in variants.items()
            if self._evaluations.is_open(key, value)
        ]
        self._evaluations.evaluate(new, value)
        for key in variants:
            if is_better(self._evaluations.value(key), bests[-1].loss):
                bests[-1] = ScoredCode(list(key), self._evaluations.value(key))
        self._show(step + 1, bests[-1])
        return bests[-1].loss != value

    def _show(self, step: int, best: ScoredCode) -> None:
        """Show how far it is: if nothing better turns up, all codes next to the best and the coming starts are left."""
        evaluations = self._evaluations
        if evaluations.hidden:  # counting takes milliseconds for every start
            return
        bounds = [(code, evaluations.value(code)) for code in (tuple(best.code), *self._starts_left)]
        left = sum(
            evaluations.is_open(varied(code, position, value), bound)
            for code, bound in bounds
            for position, values in enumerate(self.code_space)
            for value in values
        )
        evaluations.show(left, best=f"{best.loss:.4f}", step=step)

    def _header(self) -> dict[str, object]:
        """What the evaluations and their order depend on."""
        arguments = {
            "objective": objective_name(self.objective),
            "order": self.order,
            "epochs": self.epochs,
            "seed": self.seed,
            "num_starts": self.num_starts,
            "max_evaluations": self.max_evaluations,
            "prune": self.prune,
            "starts": digest(self.candidate_starts),
            "code_space": digest(self.code_space),
        }
        if self.order == "gradient":
            arguments |= {"candidates": self.candidates, "patience": self.patience}
        return {**self.scorer.fingerprint(), **arguments}


def varied(code: Key, position: int, value: int) -> Key:
    """The code with another value at one position."""
    return (*code[:position], value, *code[position + 1 :])


def digest(value: object) -> str:
    """A digest of plain JSON values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
