"""Watching a search and stopping it, as transformers' `TrainerCallback` does with training."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from .results import ScoredCode
from .trials import Trial

# What is left is known only as long as no better code turns up, whose neighbors would have to be tried as well.
BAR = "{l_bar}{bar}| {n_fmt} of at most {total_fmt} if none is better [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


@dataclass
class SearchState:
    """How far a search is.

    Attributes:
        objective: Name of what it minimizes.
        trials: Every evaluation so far, in order; grows as the search goes on.
        resumed: How many of them an earlier run had made.
        evaluations: Number of distinct codes evaluated.
        max_evaluations: The budget of them, if there is one.
        best: The best code so far; None before the first one was evaluated completely.
        step: Step that the search is at, or generation; -1 while it evaluates what it may start from.
        stopped: Why it ended, as in the result; None while it goes on.
        count_codes_left: Counts how many codes the search will evaluate at most if none is better than the best. It takes
            milliseconds.
    """

    objective: str
    trials: list[Trial] = field(default_factory=list)
    resumed: int = 0
    evaluations: int = 0
    max_evaluations: int | None = None
    best: ScoredCode | None = None
    step: int = -1
    stopped: str | None = None
    count_codes_left: Callable[[], int | None] = lambda: None


@dataclass
class SearchControl:
    """What a callback may ask for.

    Attributes:
        should_stop: End the search with the best code so far. It ends after the codes that are being evaluated, and
            can go on from its trace.
    """

    should_stop: bool = False


class SearchCallback:
    """Override what you need. In a run of several processes the main one alone calls these."""

    def on_search_begin(self, state: SearchState, control: SearchControl) -> None:
        """Before the first code is evaluated."""

    def on_step(self, state: SearchState, control: SearchControl) -> None:
        """After some codes were evaluated, 8 to 64 at most: a step, a generation, or a part of one."""

    def on_new_best(self, state: SearchState, control: SearchControl) -> None:
        """Before `on_step`, where one of the codes is the best so far."""

    def on_search_end(self, state: SearchState, control: SearchControl) -> None:
        """Once the search has ended, for whatever reason."""


class ProgressBar(SearchCallback):
    """Codes evaluated, of how many at most, and the best value."""

    def __init__(self, description: str):
        self.description = description

    def on_search_begin(self, state: SearchState, control: SearchControl) -> None:
        # The mean speed (smoothing 0) of this run, to which the codes of earlier runs do not count.
        self.bar = tqdm(
            total=state.max_evaluations, unit="code", desc=self.description, smoothing=0, bar_format=BAR, initial=0
        )

    def on_step(self, state: SearchState, control: SearchControl) -> None:
        left = state.count_codes_left()
        if left is not None:
            total = state.evaluations + left
            self.bar.total = total if state.max_evaluations is None else min(total, state.max_evaluations)
        if state.best is not None:
            self.bar.set_postfix(best=f"{state.best.loss:.4f}", step=max(state.step, 0), refresh=False)
        self.bar.initial = state.resumed
        # All at once: a bar that is drawn after the first of many codes would take their time for that of one.
        self.bar.update(state.evaluations - self.bar.n)

    def on_search_end(self, state: SearchState, control: SearchControl) -> None:
        self.bar.close()
