"""A Bitwise Search as it went, from its saved result or from the trace that it writes while it runs."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search import CodeSearchResult, Trial
from search.results import from_dict


@dataclass(frozen=True)
class SearchCourse:
    """A Bitwise Search, as far as it went.

    Attributes:
        trace: Its evaluations, in order; at least one has a value.
        objective: Name of what it minimizes.
        code: The best code.
        loss: Its value.
    """

    trace: list[Trial]
    objective: str
    code: list[int]
    loss: float

    @classmethod
    def from_trace(cls, trace: list[Trial], objective: str) -> "SearchCourse":
        """Make the course of evaluations so far. Raises a ValueError where no code has a value yet."""
        complete = [e for e in trace if e.value is not None]
        if not complete:
            raise ValueError("The search has not evaluated any code yet.")
        best = min(complete, key=lambda e: e.value)
        return cls(trace, objective, best.code, best.value)

    def compute_best_so_far(self) -> np.ndarray:
        """Compute the least value up to each evaluation, `(len(trace),)`."""
        return np.fmin.accumulate([math.nan if e.value is None else e.value for e in self.trace])

    def find_start_code(self) -> list[int]:
        """Find the code that was varied, position by position, into the best one."""
        start = next(e.start for e in self.trace if e.code == self.code)
        tried = [e for e in self.trace if e.step == -1 and e.value is not None]
        first = next((e for e in self.trace if e.start == start and e.step >= 0), None)
        if first is not None and first.position is not None:  # it differs from its start at one position only
            tried = [e for e in tried if _without(e.code, first.position) == _without(first.code, first.position)]
        return min(tried, key=lambda e: e.value).code

    def get_start_loss(self) -> float:
        """Return the value of `find_start_code()`."""
        return next(e.value for e in self.trace if e.code == self.find_start_code())

    def count_codes(self) -> int:
        """Count distinct codes evaluated."""
        return len({tuple(e.code) for e in self.trace})


def read_trace(path: str | os.PathLike) -> SearchCourse:
    """Read the course so far of a search with a `trace_path`; a last line that is still being written is left out.

    Raises:
        ValueError: The file is no trace, or holds no evaluation yet.
    """
    content = Path(path).read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    try:
        objective = json.loads(lines[0])["objective"]
        trace = [from_dict(Trial, json.loads(line)) for line in lines[1:]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is not the trace of a Bitwise Search.") from error
    return SearchCourse.from_trace(trace, objective)


def load_search(path: str | os.PathLike) -> SearchCourse:
    """Read a saved [`CodeSearchResult`] or a trace.

    Raises:
        ValueError: There is no such file, or it is neither.
    """
    try:
        with open(path, encoding="utf-8") as file:
            one_line_per_evaluation = file.readline().rstrip().endswith("}")  # a result is indented
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"The search trace '{path}' cannot be read: {reason}.") from error
    if one_line_per_evaluation:
        return read_trace(path)
    result = CodeSearchResult.load(path)
    return SearchCourse(result.trace, result.objective, result.code, result.loss)


def _without(code: list[int], position: int) -> list[int]:
    return [*code[:position], *code[position + 1 :]]
