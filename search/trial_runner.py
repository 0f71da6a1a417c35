"""The trials of one search: each code once, in portions, within a budget, durably recorded, resumed, and watched."""

import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch
from transformers.utils import logging

from .callbacks import ProgressBar, SearchCallback, SearchControl, SearchState
from .config import SearchConfig
from .pruning import Pruner
from .results import ScoredCode
from .scoring.code_scorer import CodeScorer
from .scoring.objectives import Objective, UserObjective, get_objective_name, is_better
from .scoring.processes import is_main_process, on_main_process
from .trials import TraceFile, Trial

logger = logging.get_logger(__name__)

Key = tuple[int, ...]
# A killed run loses what it had not written yet, and a callback waits for as much: so many codes, or on a slow device so
# many that they fill this number of batches.
CODES_AT_ONCE, BATCHES_AT_ONCE, FEWEST_AT_ONCE = 64, 16, 8


class TrialRunner:
    """What a search has asked for and knows.

    Args:
        scorer: Passed to the objective.
        objective: Lower is better.
        config: The budgets of codes and of seconds, and the loss at which a task counts as solved.
        get_header: Gives what the trials and their order depend on; asked for only if there is a trace.
        pruner: Evaluates codes part by part, see [`Pruner`].
        trace_path: File that every trial is appended to. If it is there, its trials are not repeated.
        callbacks: What watches the search.
        progress_bar: What shows it, on the main process.

    Attributes:
        known (`dict[Key, Trial]`): The last trial of each code.
        state ([`SearchState`]): What callbacks see; its `trials` are all of them, in order.
        ended (`str | None`): "max_evaluations", "max_search_seconds", "target_loss" or "callback" once that is so.

    Raises:
        ValueError: The trace was written by another search.
    """

    def __init__(
        self,
        scorer: CodeScorer,
        objective: Objective | UserObjective,
        config: SearchConfig,
        get_header: Callable[[], Mapping[str, object]],
        pruner: Pruner | None = None,
        trace_path: str | os.PathLike | None = None,
        callbacks: Sequence[SearchCallback] = (),
        progress_bar: ProgressBar | None = None,
    ):
        self.scorer, self.objective, self.pruner = scorer, objective, pruner
        self.config, self.trace_path = config, trace_path
        self.known: dict[Key, Trial] = {}
        self.ended: str | None = None
        self._file: TraceFile | None = None
        self._start = time.monotonic()

        def open_trace() -> list[Trial]:
            self._file = TraceFile(trace_path, dict(get_header()))
            return self._file.finished

        self._finished = deque([] if trace_path is None else on_main_process(open_trace))
        self.state = SearchState(get_objective_name(objective), max_evaluations=config.max_evaluations)
        self._control = SearchControl()
        self._callbacks, self._bar = list(callbacks), progress_bar if is_main_process() else None
        self._tell("on_search_begin")

    def close(self, stopped: str) -> None:
        """Close the file and tell the callbacks why the search ended."""
        if self._file is not None:
            self._file.close()
        self.state.stopped = stopped
        self._tell("on_search_end")

    def run(self, trials: list[Trial], best: float = math.inf) -> bool:
        """Fill in and record the trials, from the trace as far as it goes. False if the search has to end.

        Args:
            trials: Without values.
            best: The value to beat; what cannot beat it need not be evaluated completely.
        """
        if self.ended is not None:
            return False
        todo = trials
        if self.config.max_evaluations is not None:
            left = self.config.max_evaluations - len(self.known)
            fresh = list(itertools.accumulate(tuple(trial.code) not in self.known for trial in trials))
            todo = [trial for trial, count in zip(trials, fresh, strict=True) if count <= left]
            if len(todo) < len(trials):
                self.ended = "max_evaluations"
        if todo:
            self.state.step = todo[0].step
        known = self._resume(todo)
        if known:
            self._record(known)
            self.state.resumed = len(self.known)
            self._after(known)
        todo = todo[len(known) :]
        at_once = self._count_codes_at_once(todo)
        for first in range(0, len(todo), at_once):
            if self._is_stopped():
                break
            portion = todo[first : first + at_once]
            self._fill(portion, best)
            if self._file is not None:
                self._file.append(portion)
            self._record(portion)
            self._after(portion)
            if self._is_out_of_time():
                self.ended = self.ended or "max_search_seconds"
                break
        if self._is_stopped():
            self.ended = self.ended or "callback"
        if self._is_solved():
            self.ended = self.ended or "target_loss"
        return self.ended is None

    def recorded(self, start: int, step: int) -> list[Trial]:
        """Get what the trace of an earlier run holds of the coming step: there is nothing to decide then."""
        return list(itertools.takewhile(lambda trial: (trial.start, trial.step) == (start, step), self._finished))

    def value(self, key: Key) -> float:
        """Get a code's value; infinite where it is unknown or was not evaluated completely."""
        known = self.known.get(key)
        return math.inf if known is None or known.value is None else known.value

    def is_open(self, key: Key, best: float) -> bool:
        """Tell whether evaluating a code could still bring anything: it is unknown, or was pruned against a worse bound."""
        known = self.known.get(key)
        if known is None:
            return True
        return known.value is None and is_better(known.at_least, best)

    def _count_codes_at_once(self, trials: list[Trial]) -> int:
        if not trials or not isinstance(self.scorer, CodeScorer):
            return CODES_AT_ONCE
        scorer = self.scorer.prompt_scorer
        tokens = int(scorer.reader.get_lengths(len(trials[0].code)).sum())
        # By the first budget: what memory and speed made of it must not matter to what is evaluated together.
        return min(CODES_AT_ONCE, max(FEWEST_AT_ONCE, BATCHES_AT_ONCE * scorer.first_token_budget // tokens))

    def _resume(self, trials: list[Trial]) -> list[Trial]:
        """The trials, from the first, that stand in the trace."""
        known: list[Trial] = []
        for expected in trials:
            if not self._finished:
                break
            found = self._finished.popleft()
            if (found.start, found.step, found.code) != (expected.start, expected.step, expected.code):
                self._forget_rest(len(self.state.trials) + len(known))
                break
            known.append(found)
        return known

    def _forget_rest(self, count: int) -> None:
        """A line of the trace is missing or was changed: what follows its first `count` trials is evaluated again."""
        logger.warning(
            f"The trace '{self.trace_path}' does not go as this search does from line {count + 2} on: that line and all "
            "that follow are evaluated again."
        )
        self._finished.clear()
        if self._file is not None:
            self._file.keep(count)

    def _record(self, trials: list[Trial]) -> None:
        for trial in trials:
            self.known[tuple(trial.code)] = trial
            self.state.trials.append(trial)
            if self.pruner is not None:
                self.pruner.learn(trial)
        self.state.evaluations = len(self.known)

    def _after(self, trials: list[Trial]) -> None:
        """Tell the callbacks of finished trials."""
        before = self.state.best
        for trial in trials:
            best = self.state.best
            if trial.value is not None and (best is None or is_better(trial.value, best.loss)):
                self.state.best = ScoredCode(trial.code, trial.value)
        if self.state.best is not before:
            self._tell("on_new_best")
        self._tell("on_step")

    def _tell(self, event: str) -> None:
        if self._bar is not None:
            getattr(self._bar, event)(self.state, self._control)
        if not self._callbacks:
            return

        def tell() -> bool:
            for callback in self._callbacks:
                getattr(callback, event)(self.state, self._control)
            return self._control.should_stop

        self._control.should_stop = on_main_process(tell)

    def _is_stopped(self) -> bool:
        return self._control.should_stop and bool(self.known)  # there has to be something to return

    def _is_solved(self) -> bool:
        """Asked between steps alone: in how many portions a step was evaluated must not matter to what it holds."""
        target, best = self.config.target_loss, self.state.best
        return target is not None and best is not None and best.loss <= target

    def _is_out_of_time(self) -> bool:
        seconds = self.config.max_search_seconds
        return seconds is not None and on_main_process(lambda: time.monotonic() - self._start > seconds)

    def _fill(self, trials: list[Trial], best: float) -> None:
        if self.pruner is not None:
            self.pruner.evaluate(trials, best)
        else:
            codes = torch.tensor([trial.code for trial in trials])
            for trial, value in zip(trials, self.objective(self.scorer, codes).tolist(), strict=True):
                trial.value = value
        for trial in trials:
            if trial.value is not None and not math.isfinite(trial.value):
                raise ValueError(
                    f"The objective of code {trial.code} is {trial.value}. If the model runs in half precision, use "
                    "bfloat16 or float32."
                )
