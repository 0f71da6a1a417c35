"""The ways to find a task's prompt vectors from its examples, and which of them a number of examples can pay for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from search import (
    BitwiseSearch,
    CodeEnsemble,
    CodeEnsembleResult,
    CodeScorer,
    PopulationSearch,
    best_training_code,
    task_code_space,
    tune_prompt,
)
from search.config import SearchConfig

TITLES = {
    "code_ensemble": "Code Ensemble (no labels)",
    "training_code": "training code by loss",
    "training_code_by_accuracy": "training code by accuracy",
    "bitwise_search": "Bitwise Search",
    "population_search": "Population Search",
    "prompt_tuning": "Bitwise Search, then tuned",
}
# What `method="auto"` tries, the cheapest first, and the labeled examples that each is worth trying from.
AUTO = {
    "code_ensemble": 2,
    "training_code": 2,
    "training_code_by_accuracy": 8,
    "bitwise_search": 12,
    "prompt_tuning": 12,
}
TUNING_RATE = 0.03  # learning rate of prompt tuning, as a share of the start's typical size


@dataclass(frozen=True)
class FoundPrompt:
    """What a method finds.

    Attributes:
        vectors: Prompt vectors `(code_length, width)`.
        code: The code that they are decoded from; None where they were tuned.
    """

    vectors: torch.Tensor
    code: list[int] | None


class Searches:
    """All methods on one set of examples; what one of them needs of another is computed once.

    Args:
        scorer: Scores the examples, of a CTR model.
        examples: The same examples, labeled except for the Code Ensemble.
        config: Objective and budget of the searches.
        seed: Random seed of the searches.
        tuning_steps: Gradient steps of prompt tuning.
    """

    def __init__(
        self, scorer: CodeScorer, examples: Sequence[dict], config: SearchConfig, seed: int, tuning_steps: int
    ):
        self.scorer, self.examples, self.config, self.seed = scorer, examples, config, seed
        self.tuning_steps = tuning_steps
        self.vote: CodeEnsembleResult | None = None  # once there was one

    def find(self, method: str) -> FoundPrompt:
        """Run a method of `TITLES`."""
        found = getattr(self, method)
        return found if isinstance(found, FoundPrompt) else self._decoded(found)

    @property
    def code_ensemble(self) -> list[int]:
        self.vote = CodeEnsemble(self.scorer, self.config).run()
        return self.vote.code

    @property
    def training_code(self) -> list[int]:
        return self._training.code

    @property
    def training_code_by_accuracy(self) -> list[int]:
        return self._training.best_by_accuracy().code

    @cached_property
    def bitwise_search(self) -> list[int]:
        space = task_code_space(self.scorer.model)
        return BitwiseSearch(self.scorer, space, self.config, seed=self.seed, progress=False).run().code

    @property
    def population_search(self) -> list[int]:
        space = task_code_space(self.scorer.model)
        return PopulationSearch(self.scorer, space, self.config, seed=self.seed, progress=False).run().code

    @property
    def prompt_tuning(self) -> FoundPrompt:
        start = self._decoded(self.bitwise_search).vectors.float()
        tuned = tune_prompt(
            self.scorer.model,
            self.examples,
            start,
            self.config.objective,
            steps=self.tuning_steps,
            learning_rate=TUNING_RATE * float(start.square().mean().sqrt()),
            seed=self.seed,
            progress=False,
        )
        return FoundPrompt(tuned.vectors, None)

    @cached_property
    def _training(self):
        return best_training_code(self.scorer, objective=self.config.objective)

    @torch.inference_mode()
    def _decoded(self, code: list[int]) -> FoundPrompt:
        model = self.scorer.model
        device = model.task_codebook.code_vectors.weight.device
        return FoundPrompt(model.prompt_vectors(torch.tensor([code], device=device))[0], list(code))


def affordable_methods(num_labeled: int, has_choices: bool) -> list[str]:
    """The methods that are worth trying on that many labeled examples, the cheapest first."""
    methods = [method for method, least in AUTO.items() if num_labeled >= least]
    if not has_choices:  # neither votes nor accuracies
        methods = [method for method in methods if method not in ("code_ensemble", "training_code_by_accuracy")]
    return methods


def check_method(method: str, labeled: bool, has_choices: bool, folds: int) -> None:
    """Raise a ValueError where there is no such method, or the examples are not of its kind."""
    if method != "auto" and method not in TITLES:
        known = ", ".join(repr(name) for name in ("auto", *TITLES))
        raise ValueError(f"There is no method {method!r}: choose one of {known}.")
    if not labeled and method not in ("auto", "code_ensemble"):
        raise ValueError(f"The method {method!r} needs `labels`; without them there is 'code_ensemble'.")
    if not has_choices and method in ("code_ensemble", "training_code_by_accuracy"):
        raise ValueError(
            f"The method {method!r} needs answers to choose between, which a free-form task does not have."
        )
    if folds < 0 or folds == 1:
        raise ValueError(f"`folds` must be 0, for no estimate, or at least 2, but is {folds}.")
    if method == "auto" and labeled and not folds:
        raise ValueError("The method 'auto' compares methods by the estimate: give `folds`, or name a method.")
