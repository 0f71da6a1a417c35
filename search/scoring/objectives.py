"""What a search minimizes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from .code_scorer import CodeScorer, first_argmax
from .prompt_scorer import PromptScorer

# A code counts as better only if it is so by more than this share of the value: rounding, which depends on how codes
# and examples were batched, then cannot decide between equals.
RELATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Objective:
    """A value per code, lower is better. Terms are multiplied by the examples' weights.

    Args:
        name: Stands in results and traces.
        terms: `(scorer, codes, examples) -> (num_codes, n)`: one non-negative term per example; `examples` is `(n,)`
            or None for all.
        mean: Whether the value is the terms' mean, or their sum.
        targets: Which answers' scores tell the terms: those of all choices, or those of the gold targets. None where
            there is no gradient.
        terms_of_scores: `(prompt_scorer, scores, examples) -> (..., n)`: the same terms from the scores
            `(..., n, max_choices)`, or `(..., n, 1)` of the gold targets, of the examples `(n,)`; differentiable.
    """

    name: str
    terms: Callable[[CodeScorer, torch.LongTensor, torch.LongTensor | None], torch.Tensor]
    mean: bool
    targets: Literal["choices", "gold"] | None = None
    terms_of_scores: Callable[[PromptScorer, torch.Tensor, torch.LongTensor], torch.Tensor] | None = None

    def __call__(self, scorer: CodeScorer, codes: torch.LongTensor) -> torch.Tensor:
        """`(num_codes,)`."""
        return self.value(self.terms(scorer, codes, None).sum(1), scorer.num_examples)

    def value(self, total: torch.Tensor, num_examples: int) -> torch.Tensor:
        """Turn sums of terms into values."""
        return total / num_examples if self.mean else total

    def prompt_terms(self, scorer: PromptScorer, prompts: torch.Tensor, examples: torch.LongTensor) -> torch.Tensor:
        """Compute terms `(num_prompts, n)` of the examples `(n,)` under prompts `(num_prompts, prompt_length, width)`."""
        wanted = torch.zeros(len(prompts), scorer.num_examples, dtype=torch.bool)
        wanted[:, examples] = True
        if self.targets == "choices":
            scores = scorer.choice_log_likelihoods(prompts, wanted)
        else:
            scores = -scorer.gold_losses(prompts, wanted)[..., None]
        return self.terms_of_scores(scorer, scores[:, examples], examples)

    def gradients(
        self, scorer: PromptScorer, prompts: torch.Tensor, examples: torch.LongTensor | None = None
    ) -> tuple[torch.DoubleTensor, torch.Tensor]:
        """Compute terms of all or some examples, and the gradient of their sum, as [`PromptScorer.term_gradients`] does."""
        return scorer.term_gradients(prompts, partial(self.terms_of_scores, scorer), self.targets, examples)


def gold_loss(scorer: PromptScorer, scores: torch.Tensor, examples: torch.LongTensor) -> torch.Tensor:
    """Compute the paper's loss, the negative log-likelihood of the gold target, from its score `(..., n, 1)`."""
    return -scores.squeeze(-1) * scorer.examples.weights.to(scores.device)[examples]


def choice_loss(scorer: PromptScorer, scores: torch.Tensor, examples: torch.LongTensor) -> torch.Tensor:
    """Compute the cross-entropy of the gold choice under the softmax of the choices' log-likelihoods.

    The gold loss mostly tracks how well a code makes the model use the answers' format; this one, only which answer
    it prefers.
    """
    answers = scorer.require_answers("The normalized loss").to(scores.device)[examples]
    return choice_cross_entropy(scores, answers) * scorer.examples.weights.to(scores.device)[examples]


def choice_cross_entropy(scores: torch.Tensor, answers: torch.LongTensor) -> torch.Tensor:
    """Compute cross-entropies `(..., n)` of answers `(n,)` under scores `(..., n, num_choices)`, -inf where there are fewer."""
    gold = scores.gather(-1, answers.expand(scores.shape[:-1])[..., None]).squeeze(-1)
    return (scores.logsumexp(-1) - gold).clamp(min=0)


def gold_loss_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """Compute `gold_loss` of codes."""
    scores = -scorer.gold_losses_per_example(codes, examples)[..., None]
    return gold_loss(scorer.prompt_scorer, scores, _numbers(scorer, examples))


def choice_loss_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """Compute `choice_loss` of codes."""
    scorer.require_answers("The normalized loss")  # before anything is scored
    scores = scorer.choice_log_likelihoods(codes, examples)
    return choice_loss(scorer.prompt_scorer, scores, _numbers(scorer, examples))


def error_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """Compute 1 where the likeliest choice, the first of equals, is not the gold one, else 0."""
    numbers = _numbers(scorer, examples)
    answers = scorer.require_answers("The accuracy")[numbers]
    wrong = first_argmax(scorer.choice_log_likelihoods(codes, examples)) != answers
    return wrong * scorer.prompt_scorer.examples.weights[numbers]


def _numbers(scorer: CodeScorer, examples: torch.LongTensor | None) -> torch.LongTensor:
    return torch.arange(scorer.num_examples) if examples is None else examples


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("normalized_loss", choice_loss_terms, True, "choices", choice_loss),
        Objective("loss", gold_loss_terms, False, "gold", gold_loss),
        Objective("accuracy", error_terms, mean=True),  # as the error rate: lower is better
    )
}
UserObjective = Callable[[CodeScorer, torch.LongTensor], torch.Tensor]


def resolve_objective(
    objective: str | Objective | UserObjective | None, scorer: CodeScorer
) -> Objective | UserObjective:
    """Get what is meant by a name, an objective or any `(scorer, codes) -> (num_codes,)`; None is the default for the examples.

    The default is `normalized_loss` where there are answer choices, else `loss`.
    """
    if objective is None:
        objective = "normalized_loss" if scorer.has_choices else "loss"
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(f"There is no objective '{objective}': choose one of {', '.join(OBJECTIVES)}.")
        return OBJECTIVES[objective]
    return objective


def require_gradients(objective: Objective | UserObjective) -> None:
    """Raise a ValueError where an objective has no gradients."""
    if not isinstance(objective, Objective) or objective.terms_of_scores is None:
        raise ValueError(
            f"The objective '{get_objective_name(objective)}' has no gradients: choose 'normalized_loss' or 'loss'."
        )


def get_objective_name(objective: Objective | UserObjective) -> str:
    """Get the name under which an objective stands in results and traces."""
    if isinstance(objective, Objective):
        return objective.name
    return getattr(objective, "__qualname__", type(objective).__qualname__)


def is_better(value: float, best: float) -> bool:
    """Tell whether `value` is lower than `best` by more than rounding."""
    return value < best - RELATIVE_TOLERANCE * max(1.0, abs(best))
