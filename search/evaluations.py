"""The evaluations of one search: each code once, in portions, within a budget, durably recorded, resumed."""

import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping

import torch
from tqdm.auto import tqdm

from .pruning import Pruner
from .results import Evaluation, ScoredCode
from .scoring.code_scorer import CodeScorer
from .scoring.objectives import Objective, UserObjective, is_better
from .scoring.processes import is_main_process, on_main_process
from .trace import EvaluationTrace

Key = tuple[int, ...]
CODES_AT_ONCE = 64
# What is left is known only as long as no better code turns up, whose neighbours would have to be tried as well.
BAR = "{l_bar}{bar}| {n_fmt} of at most {total_fmt} if none is better [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Evaluations:
    """What a search has asked for and knows.

    Args:
        scorer: Passed to the objective.
        objective: Lower is better.
        header: What the evaluations and their order depend on; stands in the trace. Asked for only if there is one.
        description: Of the progress bar.
        pruner: Evaluates codes part by part, see [`Pruner`].
        max_evaluations: Distinct codes, at most.
        max_seconds: End after so many seconds of this run.
        trace_path: A file that every evaluation is appended to. If it is there, its evaluations are not repeated.
        progress: Show a bar.

    Attributes:
        known (`dict[Key, Evaluation]`): The last evaluation of each code.
        trace (`list[Evaluation]`): All of them, in order.
        ended (`str | None`): "max_evaluations" or "max_seconds" once that is reached.

    Raises:
        ValueError: The trace was written by another search.
    """

    def __init__(
        self,
        scorer: CodeScorer,
        objective: Objective | UserObjective,
        header: Callable[[], Mapping[str, object]],
        description: str,
        pruner: Pruner | None = None,
        max_evaluations: int | None = None,
        max_seconds: float | None = None,
        trace_path: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.scorer, self.objective, self.pruner = scorer, objective, pruner
        self.max_evaluations, self.max_seconds, self.trace_path = max_evaluations, max_seconds, trace_path
        self.known: dict[Key, Evaluation] = {}
        self.trace: list[Evaluation] = []
        self.ended: str | None = None
        self._file: EvaluationTrace | None = None
        self._start = time.monotonic()

        def open_trace() -> list[Evaluation]:
            self._file = EvaluationTrace(trace_path, dict(header()))
            return self._file.finished

        self._finished = deque([] if trace_path is None else on_main_process(open_trace))
        self.hidden = not (progress and is_main_process())
        # The mean speed (smoothing 0) of this run, to which `initial` codes of earlier runs do not count.
        self._bar = tqdm(
            total=max_evaluations, unit="code", desc=description, disable=self.hidden, smoothing=0, bar_format=BAR
        )

    def close(self) -> None:
        """Close the file and the bar."""
        self._bar.close()
        if self._file is not None:
            self._file.close()

    def evaluate(self, evaluations: list[Evaluation], best: float = math.inf) -> bool:
        """Fill in and record the evaluations, from the trace as far as it goes. False if the budget cut them short.

        Args:
            evaluations: Without values.
            best: The value to beat; what cannot beat it need not be evaluated completely.
        """
        if self.ended is not None:
            return False
        todo = evaluations
        if self.max_evaluations is not None:
            left = self.max_evaluations - len(self.known)
            fresh = list(itertools.accumulate(tuple(e.code) not in self.known for e in evaluations))
            todo = [e for e, count in zip(evaluations, fresh, strict=True) if count <= left]
            if len(todo) < len(evaluations):
                self.ended = "max_evaluations"
        while todo and self._finished:
            self._record([self._from_trace(todo[0])])
            self._bar.initial = len(self.known)
            todo = todo[1:]
        # In portions, so that a killed run loses little.
        for first in range(0, len(todo), CODES_AT_ONCE):
            portion = todo[first : first + CODES_AT_ONCE]
            self._fill(portion, best)
            if self._file is not None:
                self._file.append(portion)
            self._record(portion)
            if self._out_of_time():
                self.ended = self.ended or "max_seconds"
                break
        return self.ended is None

    def recorded(self, start: int, step: int) -> list[Evaluation]:
        """What the trace of an earlier run holds of the coming step: there is nothing to decide then."""
        return list(itertools.takewhile(lambda e: (e.start, e.step) == (start, step), self._finished))

    def value(self, key: Key) -> float:
        """A code's value; infinite where it is unknown or was not evaluated completely."""
        known = self.known.get(key)
        return math.inf if known is None or known.value is None else known.value

    def is_open(self, key: Key, best: float) -> bool:
        """Whether evaluating a code could still tell something: it is unknown, or was pruned against a worse bound."""
        known = self.known.get(key)
        if known is None:
            return True
        return known.value is None and is_better(known.at_least, best)

    def top(self, count: int) -> list[ScoredCode]:
        """The best codes among those evaluated completely, best first."""
        complete = [e for e in self.known.values() if e.value is not None]
        return [ScoredCode(e.code, e.value) for e in sorted(complete, key=lambda e: (e.value, e.code))[:count]]

    def show(self, left: int, **values: object) -> None:
        """Show values in the progress bar, and how many codes are left at most if none of them is better than the best."""
        total = len(self.known) + left
        self._bar.total = total if self.max_evaluations is None else min(total, self.max_evaluations)
        self._bar.set_postfix(values, refresh=False)

    def _out_of_time(self) -> bool:
        if self.max_seconds is None:
            return False
        return on_main_process(lambda: time.monotonic() - self._start > self.max_seconds)

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
            self._bar.update(tuple(evaluation.code) not in self.known)
            self.known[tuple(evaluation.code)] = evaluation
            self.trace.append(evaluation)
            if self.pruner is not None:
                self.pruner.learn(evaluation)

    def _fill(self, evaluations: list[Evaluation], best: float) -> None:
        if self.pruner is not None:
            self.pruner.evaluate(evaluations, best)
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
