"""What Bitwise Search and Population Search share: settings, starts, trials, interrupts, and a result."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from huggingface_hub.dataclasses import strict
from transformers.utils import logging

from .callbacks import ProgressBar, SearchCallback
from .config import SearchConfig, get_config
from .pruning import Pruner
from .results import ScoredCode, SearchResult
from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace, check_codes
from .scoring.fingerprints import compute_digest
from .scoring.objectives import Objective, UserObjective, get_objective_name, resolve_objective
from .scoring.processes import num_processes
from .trial_runner import Key, TrialRunner
from .trials import Trial

logger = logging.get_logger(__name__)


@strict
@dataclass
class CodeSearchResult(SearchResult):
    """What the searches by few labels return.

    Args:
        code: The best code found.
        loss: Its value of the objective; lower is better.
        objective: Name of the objective.
        evaluations: Number of distinct codes evaluated, those that it might start from included.
        stopped: Why it ended: "max_evaluations", "max_search_seconds", "target_loss", "callback", "interrupted", or what
            its own search adds to these.
        trace: Every evaluation, in order.
        seed: Random seed of the search.
    """

    RETIRED: ClassVar[frozenset[str]] = frozenset({"top"})

    code: list[int]
    loss: float
    objective: str
    evaluations: int
    stopped: str
    trace: list[Trial]
    seed: int

    def get_top(self, count: int = 10) -> list[ScoredCode]:
        """Get the best codes among those evaluated completely, best first."""
        values = {tuple(trial.code): trial.value for trial in self.trace if trial.value is not None}
        ranked = sorted(values.items(), key=lambda item: (item[1], item[0]))
        return [ScoredCode(list(code), value) for code, value in ranked[:count]]


FoundResult = TypeVar("FoundResult", bound=CodeSearchResult)


class CodeSearch(ABC, Generic[FoundResult]):
    """Evaluate codes one after another, decide by what is known, and end with the best.

    Args:
        scorer: Scores the task's labelled examples (with a callable objective: whatever that takes).
        code_space: Values that each position may take, e.g. `task_code_space(model)`.
        config: Settings of the search. Default: [`SearchConfig`]'s.
        objective: Objective to use instead of the config's: a name, an [`Objective`], or any function
            `(scorer, codes) -> (num_codes,)`, of which less is better.
        start_codes: `(num_starts, code_length)` or `(code_length,)`: codes to start from. Default: the codes of the
            model's training tasks.
        seed: Random seed of the search; each has a generator of its own.
        trace_path: File that every evaluation is appended to. If it is there, its evaluations are not repeated. Two equal
            searches that nothing disturbs write equal files.
        callbacks: Watch the search, and may end it, see [`SearchCallback`].
        progress: Whether to show a bar.
        overrides: Settings to use instead of the config's, by name.

    Raises:
        ValueError: The code space or a start code does not fit, or a setting is out of range.
        TypeError: There is no such setting.
    """

    description: ClassVar[str]

    def __init__(
        self,
        scorer: CodeScorer,
        code_space: CodeSpace,
        config: SearchConfig | None = None,
        *,
        objective: str | Objective | UserObjective | None = None,
        start_codes: torch.LongTensor | Sequence[Sequence[int]] | Sequence[int] | None = None,
        seed: int = 42,
        trace_path: str | os.PathLike | None = None,
        callbacks: Sequence[SearchCallback] = (),
        progress: bool = True,
        **overrides: Any,
    ):
        self.config = get_config(config, overrides)
        self.scorer, self.seed = scorer, seed
        self.trace_path, self.callbacks, self.progress = trace_path, callbacks, progress
        self.code_space = [sorted(set(values)) for values in code_space]
        if not self.code_space or not all(self.code_space):
            raise ValueError("The code space must list at least one value for every position.")
        self.objective = resolve_objective(self.config.objective if objective is None else objective, scorer)
        self.has_given_starts = start_codes is not None
        codes = torch.as_tensor(start_codes) if self.has_given_starts else scorer.model.task_codes()
        codes = check_codes(codes[None] if codes.dim() == 1 else codes)
        if codes.shape[1] != len(self.code_space):
            raise ValueError(
                f"The start codes have {codes.shape[1]} positions, but the code space has {len(self.code_space)}."
            )
        self.start_codes: list[Key] = [*dict.fromkeys(tuple(code) for code in codes.tolist())]

    def run(self) -> FoundResult:
        """Search. Ctrl-C ends it with the best code so far.

        In a run of several processes all of them call this and return the same; the main one writes the trace.

        Raises:
            ValueError: `trace_path` holds the trace of another search.
            KeyboardInterrupt: Interrupted before the first step, or in a run of several processes, which may be at
                different points then: start it again to go on.
        """
        if self.trace_path is not None and isinstance(self.scorer, CodeScorer):
            self.scorer.make_repeatable()  # two equal searches leave equal traces
        runner = TrialRunner(
            self.scorer,
            self.objective,
            self.config,
            self._get_header,
            self._make_pruner(),
            self.trace_path,
            self.callbacks,
            ProgressBar(self.description) if self.progress else None,
        )
        stopped = "error"
        try:
            stopped = self._search(runner)
        except KeyboardInterrupt:
            if not self._has_result() or num_processes() > 1:
                raise
            stopped = "interrupted"
            logger.warning("The search was interrupted; its result is the best code so far.")
        finally:
            runner.close(stopped)
        common = {
            "objective": get_objective_name(self.objective),
            "evaluations": len(runner.known),
            "stopped": stopped,
            "trace": runner.state.trials,
            "seed": self.seed,
        }
        return self._make_result(runner, common)

    @abstractmethod
    def _search(self, runner: TrialRunner) -> str:
        """Run trials until there is nothing left to do; returns why it ended."""

    @abstractmethod
    def _has_result(self) -> bool:
        """Whether an interrupt would leave something to return."""

    @abstractmethod
    def _make_result(self, runner: TrialRunner, common: dict[str, Any]) -> FoundResult:
        """The result, from what the search knows; `common` holds fields of [`CodeSearchResult`]."""

    @abstractmethod
    def _get_settings(self) -> dict[str, object]:
        """Settings that the trials and their order depend on. A budget is none: a longer search begins as a shorter one."""

    def _make_pruner(self) -> Pruner | None:
        """What evaluates codes part by part, if anything does."""
        return None

    def _get_header(self) -> dict[str, object]:
        """What the trials and their order depend on."""
        return {
            **self.scorer.fingerprint(),
            "objective": get_objective_name(self.objective),
            "seed": self.seed,
            "starts": compute_digest(self.start_codes),
            "code_space": compute_digest(self.code_space),
            **self._get_settings(),
        }


def vary_code(code: Key, position: int, value: int) -> Key:
    """Put another value at one position of a code."""
    return (*code[:position], value, *code[position + 1 :])
