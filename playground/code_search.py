"""Searches that tell how far they are and can be stopped, for a page that shows them."""

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from codebook_report.search_course import SearchCourse, read_trace
from search import OBJECTIVES, BitwiseSearch, CodeScorer, task_code_space

SECONDS_BETWEEN_STEPS = 1.0
CODES_PER_STEP = 8


class RunningSearches:
    """One search for each visitor: a new one stops the visitor's earlier one, whose results nobody waits for."""

    def __init__(self) -> None:
        self._stops: dict[str, threading.Event] = {}  # by session: set to stop
        self._lock = threading.Lock()

    def begin(self, session: str) -> threading.Event:
        """Register a search of this session; it has to end when the event is set."""
        stop = threading.Event()
        with self._lock:
            earlier = self._stops.get(session)
            self._stops[session] = stop
        if earlier is not None:
            earlier.set()
        return stop

    def is_latest(self, session: str, stop: threading.Event) -> bool:
        """Whether no other search of this session was begun since."""
        return self._stops.get(session) is stop

    def stop(self, session: str) -> None:
        """Ask this session's search to stop, if it has one."""
        with self._lock:
            stop = self._stops.get(session)
        if stop is not None:
            stop.set()

    def end(self, session: str, stop: threading.Event) -> None:
        """Forget a search that has ended."""
        with self._lock:
            if self._stops.get(session) is stop:
                del self._stops[session]


def ensemble_steps(scorer: CodeScorer, stop: threading.Event) -> Iterator[tuple[int, int]]:
    """Score all training codes, a few at a time: `(scored, of)`. The scorer remembers, so the vote itself is quick.

    Raises:
        ValueError: `stop` was set.
    """
    codes = scorer.model.task_codes()
    for done in range(0, len(codes), CODES_PER_STEP):
        yield done, len(codes)
        if stop.is_set():
            raise ValueError("The search was stopped: there is no vote yet.")
        scorer.choice_log_likelihoods(codes[done : done + CODES_PER_STEP])


def bitwise_steps(scorer: CodeScorer, max_evaluations: int, stop: threading.Event) -> Iterator[SearchCourse]:
    """Run a Bitwise Search beside this generator, which yields its course so far, and at last all of it."""
    objective = OBJECTIVES["normalized_loss"]

    def terms(*args):
        if stop.is_set():
            raise KeyboardInterrupt  # which the search answers with the best code so far
        return objective.terms(*args)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        trace_path = Path(folder) / "trace.jsonl"
        search = BitwiseSearch(
            scorer,
            task_code_space(scorer.model),
            objective=replace(objective, terms=terms),
            prune=False,
            max_evaluations=max_evaluations,
            trace_path=trace_path,
            progress=False,
        )
        running = pool.submit(search.run)
        try:
            while not wait([running], SECONDS_BETWEEN_STEPS).done:
                if trace_path.exists() and trace_path.read_bytes().count(b"\n") > 1:
                    yield read_trace(trace_path)
            result = running.result()
        except KeyboardInterrupt:
            raise ValueError("The search was stopped before it had evaluated any code.") from None
        finally:
            stop.set()  # also when the page is closed
    yield SearchCourse(result.trace, result.objective, result.code, result.loss)
