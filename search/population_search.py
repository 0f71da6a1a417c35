"""Population search: new codes are crossed from good ones, position by position."""

import os
import random
from collections.abc import Sequence

import torch
from transformers.utils import logging

from .bitwise_search import digest, varied
from .evaluations import Evaluations, Key
from .results import BitwiseSearchResult, Evaluation, ScoredCode
from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace, check_codes
from .scoring.objectives import Objective, UserObjective, objective_name, resolve_objective
from .scoring.processes import num_processes

logger = logging.get_logger(__name__)

# Draws of a child that nobody has evaluated yet, before the population is taken to be exhausted.
DRAWS_PER_CHILD = 50


class PopulationSearch:
    """Keep the best codes, cross them, evaluate the children, keep the best.

    Unlike Bitwise Search it needs no best code to start from, and cannot get stuck next to one: positions that are good
    together are passed on together. Parents are drawn by tournaments of two; each position comes from either, and with
    the probability `mutation` one position of a child then takes another value of the code space.

    Args:
        scorer, code_space, objective, max_evaluations, max_seconds, top_k, trace_path, progress: As for
            [`BitwiseSearch`].
        seeds: `(num_seeds, code_length)`: the first population comes from these, e.g. of the voters of a Code
            Ensemble. Default: the codes of the training tasks.
        size: Codes that are kept.
        children: Codes that are evaluated in each generation.
        generations: At most so many.
        mutation: Probability that a child has one position changed.
        seed: Of the draws.

    Raises:
        ValueError: The code space or a seed code does not fit, or an argument is out of range.
    """

    def __init__(
        self,
        scorer: CodeScorer,
        code_space: CodeSpace,
        objective: str | Objective | UserObjective | None = None,
        seeds: torch.LongTensor | Sequence[Sequence[int]] | None = None,
        size: int = 24,
        children: int = 24,
        generations: int = 100,
        mutation: float = 0.5,
        seed: int = 42,
        max_evaluations: int | None = 600,
        max_seconds: float | None = None,
        top_k: int = 10,
        trace_path: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.code_space = [sorted(set(values)) for values in code_space]
        at_least_1 = {"size": size, "children": children, "generations": generations, "top_k": top_k}
        for name, value in (at_least_1 | {"max_evaluations": max_evaluations}).items():
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if not 0 <= mutation <= 1:
            raise ValueError(f"`mutation` must be a probability, but is {mutation}.")
        codes = check_codes(scorer.model.task_codes() if seeds is None else seeds)
        if codes.shape[1] != len(self.code_space) or not all(self.code_space):
            raise ValueError(
                f"The seed codes have {codes.shape[1]} positions; the code space must list values for as many, but lists "
                f"them for {sum(map(bool, self.code_space))}."
            )
        self.scorer = scorer
        self.objective = resolve_objective(objective, scorer)
        self.seeds: list[Key] = [*dict.fromkeys(tuple(code) for code in codes.tolist())]
        self.size, self.children, self.generations = size, children, generations
        self.mutation, self.seed, self.top_k = mutation, seed, top_k
        self.max_evaluations, self.max_seconds = max_evaluations, max_seconds
        self.trace_path, self.progress = trace_path, progress

    def run(self) -> BitwiseSearchResult:
        """Search. Ctrl-C ends it with the best code so far.

        Raises:
            ValueError: `trace_path` holds the trace of another search.
            KeyboardInterrupt: Interrupted before a generation was evaluated, or in a run of several processes.
        """
        evaluations = Evaluations(
            self.scorer,
            self.objective,
            self._header,
            "population search",
            max_evaluations=self.max_evaluations,
            max_seconds=self.max_seconds,
            trace_path=self.trace_path,
            progress=self.progress,
        )
        draws = random.Random(self.seed)
        population: list[Key] = []
        stopped = "generations"
        try:
            evaluations.evaluate([Evaluation(0, -1, None, list(key), None) for key in self.seeds])
            population = self._fittest(self.seeds, evaluations)
            first = population[0]
            for generation in range(self.generations):
                if evaluations.ended is not None:
                    break
                children = self._children(population, evaluations, draws)
                if not children:
                    stopped = "local_optimum"
                    break
                evaluations.evaluate([Evaluation(0, generation, None, list(key), None) for key in children])
                population = self._fittest([*population, *children], evaluations)
                left = (self.generations - generation - 1) * self.children
                best = evaluations.value(population[0])
                evaluations.show(left, best=f"{best:.4f}", generation=generation + 1)
            stopped = evaluations.ended or stopped
        except KeyboardInterrupt:
            if not population or num_processes() > 1:
                raise
            stopped = "interrupted"
            logger.warning("The search was interrupted; its result is the best code so far.")
        finally:
            evaluations.close()
        start, best = (ScoredCode(list(key), evaluations.value(key)) for key in (first, population[0]))
        return BitwiseSearchResult(
            code=best.code,
            loss=best.loss,
            objective=objective_name(self.objective),
            evaluations=len(evaluations.known),
            gradients=0,
            stopped=stopped,
            starts=[start],
            best_of_starts=[best],
            positions=[[]],
            top=evaluations.top(self.top_k),
            trace=evaluations.trace,
            pairs_pruned=0,
            seed=self.seed,
            order="population",
        )

    def _fittest(self, codes: Sequence[Key], evaluations: Evaluations) -> list[Key]:
        """The `size` best of the codes that were evaluated, the best first, of equals those found first."""
        known = [key for key in codes if key in evaluations.known]
        return sorted(known, key=evaluations.value)[: self.size]

    def _children(self, population: list[Key], evaluations: Evaluations, draws: random.Random) -> list[Key]:
        """New codes; fewer than `children` where hardly any are left."""
        children: dict[Key, None] = {}
        for _ in range(DRAWS_PER_CHILD * self.children):
            if len(children) == self.children:
                break
            mother, father = (
                population[min(draws.randrange(len(population)), draws.randrange(len(population)))] for _ in range(2)
            )
            child = tuple(draws.choice(pair) for pair in zip(mother, father, strict=True))
            if draws.random() < self.mutation:
                position = draws.randrange(len(child))
                child = varied(child, position, draws.choice(self.code_space[position]))
            if child not in evaluations.known:
                children[child] = None
        return list(children)

    def _header(self) -> dict[str, object]:
        """What the evaluations and their order depend on."""
        return {
            **self.scorer.fingerprint(),
            "objective": objective_name(self.objective),
            "order": "population",
            "seeds": digest(self.seeds),
            "code_space": digest(self.code_space),
            "size": self.size,
            "children": self.children,
            "mutation": self.mutation,
            "seed": self.seed,
            "generations": self.generations,
            "max_evaluations": self.max_evaluations,
        }
