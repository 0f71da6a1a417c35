"""Bitwise Search: a task's code from a few labelled examples, one position at a time (paper, section 3.4.2)."""

import hashlib
import itertools
import json
import math
import os
import random
from collections import deque
from collections.abc import Sequence
from typing import Literal

import torch
from tqdm.auto import tqdm
from transformers.utils import logging

from .code_space import CodeSpace, check_codes
from .objectives import Objective, UserObjective, is_better, objective_name, resolve_objective
from .pruning import Pruner
from .results import BitwiseSearchResult, Evaluation, ScoredCode
from .scorer import CodeScorer
from .task_code_search import first_best
from .trace import EvaluationTrace

logger = logging.get_logger(__name__)

Key = tuple[int, ...]
CODES_AT_ONCE = 64


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
            other.
        epochs: A start takes at most `epochs * code_length` steps. It ends earlier when all positions were tried
            since the last improvement: nothing new could be evaluated after that.
        seed: Of the random walk. Each search has a generator of its own.
        max_evaluations: End after so many distinct codes.
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
        order: Literal["random", "cyclic"] = "random",
        epochs: int = 20,
        seed: int = 42,
        max_evaluations: int | None = None,
        top_k: int = 10,
        prune: bool = False,
        trace_path: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.code_space = [sorted(set(values)) for values in code_space]
        if not self.code_space or not all(self.code_space):
            raise ValueError("The code space must list at least one value for every position.")
        if order not in ("random", "cyclic"):
            raise ValueError(f"There is no order '{order}': choose 'random' or 'cyclic'.")
        for name, value in [("num_starts", num_starts), ("epochs", epochs), ("top_k", top_k)]:
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if max_evaluations is not None and max_evaluations < 1:
            raise ValueError(f"`max_evaluations` must be at least 1, but is {max_evaluations}.")
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
        self.order, self.epochs, self.seed, self.top_k = order, epochs, seed, top_k
        self.max_evaluations = max_evaluations
        self.prune = prune and isinstance(self.objective, Objective)
        self.trace_path = trace_path
        self.progress = progress

    # ------------------------------------------------------------------------------------------- the search

    def run(self) -> BitwiseSearchResult:
        """Search. Ctrl-C ends it with the best code so far.

        Raises:
            ValueError: `trace_path` holds the trace of another search.
            KeyboardInterrupt: Interrupted before any code was evaluated.
        """
        self._known: dict[Key, Evaluation] = {}
        self._trace: list[Evaluation] = []
        self._pruner = Pruner(self.scorer, self.objective) if self.prune else None
        starts: list[ScoredCode] = []
        bests: list[ScoredCode] = []
        positions: list[list[int]] = []
        stopped = "epochs"
        self._file = None if self.trace_path is None else EvaluationTrace(self.trace_path, self._header())
        self._finished = deque(self._file.finished if self._file else [])
        self._bar = tqdm(total=self.max_evaluations, unit="code", desc="bitwise search", disable=not self.progress)
        try:
            self._evaluate([Evaluation(0, -1, None, list(key), None) for key in self.candidate_starts], math.inf)
            draws = random.Random(self.seed)
            for number, key in enumerate(self._ranked_starts()[: self.num_starts]):
                starts.append(ScoredCode(list(key), self._known[key].value))
                bests.append(starts[-1])
                positions.append([])
                stopped = self._improve(number, draws, bests, positions[-1])
                if stopped == "max_evaluations":
                    break
        except KeyboardInterrupt:
            if not bests:
                raise
            stopped = "interrupted"
            logger.warning("The search was interrupted; its result is the best code so far.")
        finally:
            self._bar.close()
            if self._file is not None:
                self._file.close()
        best = bests[first_best([found.loss for found in bests])]
        complete = [e for e in self._known.values() if e.value is not None]
        top = sorted(complete, key=lambda e: (e.value, e.code))[: self.top_k]
        return BitwiseSearchResult(
            code=best.code,
            loss=best.loss,
            objective=objective_name(self.objective),
            evaluations=len(self._known),
            stopped=stopped,
            starts=starts,
            best_of_starts=bests,
            positions=positions,
            top=[ScoredCode(e.code, e.value) for e in top],
            trace=self._trace,
            pairs_pruned=sum(e.examples_left for e in self._known.values()),
            seed=self.seed,
            order=self.order,
        )

    def _ranked_starts(self) -> list[Key]:
        """The codes to start from, in order: as given, or the best first; those within the budget of evaluations."""
        starts = [key for key in self.candidate_starts if key in self._known]
        if self.given_starts:
            return starts
        # The first of equals wins, as in the training-code search.
        best = starts[first_best([self._known[key].value for key in starts])]
        return sorted(starts, key=lambda key: (key != best, self._known[key].value))

    def _improve(self, start: int, draws: random.Random, bests: list[ScoredCode], positions: list[int]) -> str:
        """Improve the code `bests[-1]` in place, noting the varied positions; returns why it ended."""
        best, value = tuple(bests[-1].code), bests[-1].loss
        length = len(best)
        tried: set[int] = set()  # positions tried since the last improvement
        for step in range(self.epochs * length):
            position = draws.randint(0, length - 1) if self.order == "random" else step % length
            positions.append(position)
            variants = [(*best[:position], v, *best[position + 1 :]) for v in self.code_space[position]]
            new = [Evaluation(start, step, position, list(key), None) for key in variants if self._is_open(key, value)]
            all_done = self._evaluate(new, value)
            tried.add(position)
            for key in variants:
                known = self._known.get(key)
                if known is not None and known.value is not None and is_better(known.value, value):
                    best, value, tried = key, known.value, {position}
                    bests[-1] = ScoredCode(list(best), value)
            self._bar.set_postfix(best=f"{value:.4f}", step=step + 1, refresh=False)
            if not all_done:
                return "max_evaluations"
            if len(tried) == length:
                return "local_optimum"
        return "epochs"

    def _is_open(self, key: Key, best: float) -> bool:
        """Whether evaluating a code could still tell something: it is unknown, or was pruned against a worse bound."""
        known = self._known.get(key)
        return known is None or (known.value is None and is_better(known.at_least, best))

    # ------------------------------------------------------------------------------------------- evaluations

    def _evaluate(self, evaluations: list[Evaluation], best: float) -> bool:
        """Fill in and record the evaluations, from the trace as far as it goes. False if the budget cut them short."""
        todo = evaluations
        if self.max_evaluations is not None:
            left = self.max_evaluations - len(self._known)
            fresh = list(itertools.accumulate(tuple(e.code) not in self._known for e in evaluations))
            todo = [e for e, count in zip(evaluations, fresh, strict=True) if count <= left]
        all_done = len(todo) == len(evaluations)
        while todo and self._finished:
            self._record([self._from_trace(todo[0])])
            todo = todo[1:]
        # In portions, so that a killed run loses little.
        for first in range(0, len(todo), CODES_AT_ONCE):
            portion = todo[first : first + CODES_AT_ONCE]
            self._fill(portion, best)
            if self._file is not None:
                self._file.append(portion)
            self._record(portion)
        return all_done

    def _from_trace(self, expected: Evaluation) -> Evaluation:
        found = self._finished.popleft()
        if (found.start, found.step, found.code) != (expected.start, expected.step, expected.code):
            raise ValueError(
                f"The trace '{self.trace_path}' does not go as this search does (start {found.start}, step "
                f"{found.step}): it was changed, or written by another version. Choose another file."
            )
        return found

    def _record(self, evaluations: list[Evaluation]) -> None:
        for evaluation in evaluations:
            self._bar.update(tuple(evaluation.code) not in self._known)
            self._known[tuple(evaluation.code)] = evaluation
            self._trace.append(evaluation)
            if self._pruner is not None:
                self._pruner.learn(evaluation)

    def _fill(self, evaluations: list[Evaluation], best: float) -> None:
        if self._pruner is not None:
            self._pruner.evaluate(evaluations, best)
        else:
            codes = torch.tensor([e.code for e in evaluations])
            for evaluation, value in zip(evaluations, self.objective(self.scorer, codes).tolist(), strict=True):
                evaluation.value = value
        for evaluation in evaluations:
            if evaluation.value is not None and not math.isfinite(evaluation.value):
                raise ValueError(
                    f"The objective of code {evaluation.code} is {evaluation.value}. If the model runs in half "
                    "precision, use bfloat16 or float32."
                )

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
            "starts": _digest(self.candidate_starts),
            "code_space": _digest(self.code_space),
        }
        return {**self.scorer.fingerprint(), **arguments}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
