"""Population search: new codes are crossed from good ones, position by position."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from huggingface_hub.dataclasses import strict

from .code_search import CodeSearch, CodeSearchResult, vary_code
from .results import ScoredCode
from .scoring.objectives import is_better
from .trial_runner import Key, TrialRunner
from .trials import Trial

# Draws of a child that nobody has evaluated yet, before the population is taken to be exhausted.
DRAWS_PER_CHILD = 50
# Where the config has no budget: unlike Bitwise Search, this one does not end by itself.
MAX_EVALUATIONS = 600


@strict
@dataclass
class PopulationSearchResult(CodeSearchResult):
    """Result of [`PopulationSearch`].

    Args:
        stopped: Why it ended: also "generations", or "exhausted" where hardly any crossing is new.
        start: The best of the codes that it started from.
        generations: Generations that were evaluated, the last perhaps in part.
    """

    start: ScoredCode
    generations: int


class PopulationSearch(CodeSearch[PopulationSearchResult]):
    """Keep the best codes, cross them, evaluate the children, keep the best.

    Unlike Bitwise Search it needs no best code to start from, and cannot get stuck next to one: positions that are good
    together are passed on together. Parents are drawn by tournaments of two; each position comes from either, and with
    the probability `mutation_rate` one position of a child then takes another value of the code space.

    Crossing is slow to begin with: with `population_first_steps` it starts from the training codes and what so many steps
    of Bitwise Search made of the best of them.

    Arguments are those of [`CodeSearch`]; the first population comes from the start codes, e.g. those of the voters of a
    Code Ensemble.
    """

    description = "population search"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.config.max_evaluations is None:
            self.config = replace(self.config, max_evaluations=MAX_EVALUATIONS)

    def _search(self, runner: TrialRunner) -> str:
        draws = random.Random(self.seed)
        self._population: list[Key] = []
        self._generations = 0
        runner.state.count_codes_left = self._count_codes_left
        runner.run([Trial(0, -1, None, list(key)) for key in self.start_codes])
        self._population = self._fittest(self.start_codes, runner)
        self._start = self._population[0]
        steps = self._take_first_steps(runner, draws)
        while runner.ended is None:
            if self._generations == self.config.population_generations:
                return "generations"
            children = self._cross(runner, draws)
            if not children:
                return "exhausted"
            self._generations += 1
            runner.run([Trial(0, steps + self._generations - 1, None, list(key)) for key in children])
            self._population = self._fittest([*self._population, *children], runner)
        return runner.ended

    def _take_first_steps(self, runner: TrialRunner, draws: random.Random) -> int:
        """Improve the best start position by position and let it join the population; returns how many steps it took.

        Only the result joins: the codes on the way there differ from it too little to be worth crossing.
        """
        best = self._start
        untried = list(range(len(self.code_space)))  # positions, since the last improvement
        for step in range(self.config.population_first_steps):
            if runner.ended is not None or not untried:
                return step
            position = untried.pop(draws.randrange(len(untried)))
            variants = [vary_code(best, position, value) for value in self.code_space[position]]
            runner.run([Trial(0, step, position, list(key)) for key in variants if key not in runner.known])
            found = min(variants, key=runner.value)
            if is_better(runner.value(found), runner.value(best)):
                best = found
                untried = [other for other in range(len(best)) if other != position]
            self._population = self._fittest(dict.fromkeys([*self.start_codes, best]), runner)
        return self.config.population_first_steps

    def _fittest(self, codes: Iterable[Key], runner: TrialRunner) -> list[Key]:
        """The best of the codes that were evaluated, the best first, of equals those found first."""
        known = [key for key in codes if key in runner.known]
        return sorted(known, key=runner.value)[: self.config.population_size]

    def _cross(self, runner: TrialRunner, draws: random.Random) -> list[Key]:
        """New codes; fewer than asked for where hardly any are left."""
        population, count = self._population, self.config.population_children
        children: dict[Key, None] = {}
        for _ in range(DRAWS_PER_CHILD * count):
            if len(children) == count:
                break
            mother, father = (
                population[min(draws.randrange(len(population)), draws.randrange(len(population)))] for _ in range(2)
            )
            child = tuple(draws.choice(pair) for pair in zip(mother, father, strict=True))
            if draws.random() < self.config.mutation_rate:
                position = draws.randrange(len(child))
                child = vary_code(child, position, draws.choice(self.code_space[position]))
            if child not in runner.known:
                children[child] = None
        return list(children)

    def _has_result(self) -> bool:
        return bool(self._population)

    def _make_result(self, runner: TrialRunner, common: dict[str, Any]) -> PopulationSearchResult:
        start, best = (ScoredCode(list(key), runner.value(key)) for key in (self._start, self._population[0]))
        return PopulationSearchResult(
            code=best.code, loss=best.loss, start=start, generations=self._generations, **common
        )

    def _get_settings(self) -> dict[str, object]:
        config = self.config
        settings = {
            "order": "population",
            "size": config.population_size,
            "children": config.population_children,
            "mutation": config.mutation_rate,
        }
        return settings | ({"first_steps": config.population_first_steps} if config.population_first_steps else {})

    def _count_codes_left(self) -> int:
        return (self.config.population_generations - self._generations) * self.config.population_children
