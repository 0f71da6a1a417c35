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
    CodeSearchResult,
    PopulationSearch,
    TaskCodeSearchResult,
    best_training_code,
    search_until_solved,
    task_code_space,
    tune_prompt,
)
from search.scoring.objectives import choice_cross_entropy
from search.task_code_search import first_best

from .calibration import fit_calibration
from .config import NEED_CHOICES, FitConfig

# What `method="auto"` tries, the cheapest first, and the labeled examples that each is worth trying from.
AUTO = {
    "code_ensemble": 2,
    "training_code": 2,
    "training_code_by_accuracy": 8,
    "training_code_calibrated": 12,
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
        config: Settings of the searches and of tuning.
        seed: Random seed of the searches.
    """

    def __init__(self, scorer: CodeScorer, examples: Sequence[dict], config: FitConfig, seed: int):
        self.scorer, self.examples, self.config, self.seed = scorer, examples, config, seed
        self.vote: CodeEnsembleResult | None = None  # once there was one

    def find(self, method: str) -> FoundPrompt:
        """Run a method of `METHODS`."""
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

    @property
    def training_code_calibrated(self) -> list[int]:
        """The code whose answers fit best once they are calibrated, though other words are meant by them."""
        codes = self.scorer.model.task_codes()
        answers = self.scorer.prompt_scorer.examples.answers
        scores = self.scorer.choice_log_likelihoods(codes)
        calibrated = torch.stack([fit_calibration(each, answers).log_probabilities(each) for each in scores])
        return codes[first_best(choice_cross_entropy(calibrated, answers).mean(1).tolist())].tolist()

    @cached_property
    def bitwise_search(self) -> list[int]:
        space = task_code_space(self.scorer.model)
        return _completed(BitwiseSearch(self.scorer, space, self.config, seed=self.seed, progress=False).run()).code

    @property
    def population_search(self) -> list[int]:
        space = task_code_space(self.scorer.model)
        return _completed(PopulationSearch(self.scorer, space, self.config, seed=self.seed, progress=False).run()).code

    @property
    def until_solved(self) -> list[int]:
        space = task_code_space(self.scorer.model)
        found = search_until_solved(self.scorer, space, self.config, seed=self.seed, progress=False)
        for each in found.rounds:
            _completed(each)
        return found.code

    @property
    def prompt_tuning(self) -> FoundPrompt:
        start = self._decoded(self.bitwise_search).vectors.float()
        tuned = tune_prompt(
            self.scorer.model,
            self.examples,
            start,
            self.config.objective,
            steps=self.config.tuning_steps,
            learning_rate=TUNING_RATE * float(start.square().mean().sqrt()),
            seed=self.seed,
            progress=False,
        )
        return FoundPrompt(tuned.vectors, None)

    @cached_property
    def _training(self) -> TaskCodeSearchResult:
        return best_training_code(self.scorer, objective=self.config.objective)

    @torch.inference_mode()
    def _decoded(self, code: list[int]) -> FoundPrompt:
        model = self.scorer.model
        device = model.task_codebook.code_vectors.weight.device
        return FoundPrompt(model.prompt_vectors(torch.tensor([code], device=device))[0], list(code))


def _completed(result: CodeSearchResult) -> CodeSearchResult:
    """The result, unless Ctrl-C ended the search early: that ends the fit, which is many searches."""
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


def affordable_methods(num_labeled: int, has_choices: bool, calibrates: bool) -> list[str]:
    """The methods that are worth trying on that many labeled examples, the cheapest first.

    Args:
        num_labeled: Number of labeled examples.
        has_choices: Whether there are answers to choose between.
        calibrates: Whether answers that mean the same in all rows are calibrated.
    """
    left_out = set() if calibrates else {"training_code_calibrated"}
    if not has_choices:
        left_out |= set(NEED_CHOICES)
    return [method for method, least in AUTO.items() if num_labeled >= least and method not in left_out]
