"""Searches that tell how far they are and can be stopped, for a page that shows them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from codebook_report.search_course import SearchCourse
from search import BitwiseSearch, CodeScorer, SearchCallback, SearchControl, SearchState, task_code_space

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


class Watch(SearchCallback):
    """Lets another thread see how far a search is, and stop it."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.state: SearchState | None = None

    def on_step(self, state: SearchState, control: SearchControl) -> None:
        """Show the state; end the search where it is asked to stop."""
        self.state = state
        control.should_stop = self.stop.is_set()

    def get_course(self) -> SearchCourse | None:
        """Copy the course so far; None before a code has a value."""
        if self.state is None or self.state.best is None:
            return None
        best = self.state.best  # first: the trials, which go on growing, then hold it
        return SearchCourse(list(self.state.trials), self.state.objective, best.code, best.loss)


def bitwise_steps(scorer: CodeScorer, max_evaluations: int, stop: threading.Event) -> Iterator[SearchCourse]:
    """Run a Bitwise Search beside this generator, which yields its course so far, and at last all of it.

    Raises:
        ValueError: `stop` was set before it began.
    """
    if stop.is_set():
        raise ValueError("The search was stopped before it had evaluated any code.")
    watch = Watch(stop)
    search = BitwiseSearch(
        scorer, task_code_space(scorer.model), max_evaluations=max_evaluations, callbacks=[watch], progress=False
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(search.run)
        try:
            while not wait([running], SECONDS_BETWEEN_STEPS).done:
                if (course := watch.get_course()) is not None:
                    yield course
            result = running.result()
        finally:
            stop.set()  # also when the page is closed
    yield SearchCourse(result.trace, result.objective, result.code, result.loss)
