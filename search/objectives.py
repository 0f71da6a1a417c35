"""What a search minimises."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .prompt_scorer import PromptScorer
from .scorer import CodeScorer, first_argmax

# A code counts as better only if it is so by more than this share of the value: rounding, which depends on how codes
# and examples were batched, then cannot decide between equals.
RELATIVE_TOLERANCE = 1e-6


GradientsOfTerms = Callable[
    [PromptScorer, torch.Tensor, torch.LongTensor | None], tuple[torch.DoubleTensor, torch.Tensor]
]


@dataclass(frozen=True)
class Objective:
    """A value per code, lower is better. Terms are multiplied by the examples' weights.

    Args:
        name: Stands in results and traces.
        terms: `(scorer, codes, examples) -> (num_codes, n)`: one non-negative term per example; `examples` is `(n,)`
            or None for all.
        mean: Whether the value is the terms' mean, or their sum.
        gradients: `(prompt_scorer, prompts, examples) -> (terms, gradients)`: the terms under prompt vectors
            `(num_prompts, prompt_length, width)` and the gradient of their sum by these, as
            [`PromptScorer.term_gradients`] gives them. None where there is no gradient.
    """

    name: str
    terms: Callable[[CodeScorer, torch.LongTensor, torch.LongTensor | None], torch.Tensor]
    mean: bool
    gradients: GradientsOfTerms | None = None

    def __call__(self, scorer: CodeScorer, codes: torch.LongTensor) -> torch.Tensor:
        """`(num_codes,)`."""
        return self.value(self.terms(scorer, codes, None).sum(1), scorer.num_examples)

    def value(self, total: torch.Tensor, num_examples: int) -> torch.Tensor:
        """Sums of terms -> values."""
        return total / num_examples if self.mean else total


def gold_loss_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """The paper's: negative log-likelihood of the gold target."""
    return scorer.gold_losses_per_example(codes, examples) * _weights(scorer.prompt_scorer, examples)


def choice_loss_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """Cross-entropy of the gold choice under the softmax of the choices' log-likelihoods.

    The gold loss mostly tracks how well a code makes the model use the answers' format; this one, only which answer
    it prefers.
    """
    answers = scorer.require_answers("The normalized loss")
    answers = answers if examples is None else answers[examples]
    losses = choice_cross_entropy(scorer.choice_log_likelihoods(codes, examples), answers)
    return losses * _weights(scorer.prompt_scorer, examples)


def choice_cross_entropy(scores: torch.Tensor, answers: torch.LongTensor) -> torch.Tensor:
    """Scores `(..., n, num_choices)`, -inf where there are fewer choices, and answers `(n,)` -> `(..., n)`."""
    gold = scores.gather(-1, answers.expand(scores.shape[:-1])[..., None]).squeeze(-1)
    return (scores.logsumexp(-1) - gold).clamp(min=0)


def error_terms(scorer: CodeScorer, codes: torch.LongTensor, examples: torch.LongTensor | None) -> torch.Tensor:
    """1 where the likeliest choice, the first of equals, is not the gold one."""
    answers = scorer.require_answers("The accuracy")
    answers = answers if examples is None else answers[examples]
    wrong = first_argmax(scorer.choice_log_likelihoods(codes, examples)) != answers
    return wrong * _weights(scorer.prompt_scorer, examples)


def _weights(scorer: PromptScorer, examples: torch.LongTensor | None) -> torch.DoubleTensor:
    return scorer.weights if examples is None else scorer.weights[examples]


def gold_loss_gradients(
    scorer: PromptScorer, prompts: torch.Tensor, examples: torch.LongTensor | None = None
) -> tuple[torch.DoubleTensor, torch.Tensor]:
    """`gold_loss_terms` of prompt vectors, with gradients."""
    weights = scorer.weights.to(scorer.device)
    return scorer.term_gradients(
        prompts, lambda scores, numbers: -scores.squeeze(1) * weights[numbers], "gold", examples
    )


def choice_loss_gradients(
    scorer: PromptScorer, prompts: torch.Tensor, examples: torch.LongTensor | None = None
) -> tuple[torch.DoubleTensor, torch.Tensor]:
    """`choice_loss_terms` of prompt vectors, with gradients."""
    answers = scorer.require_answers("The normalized loss").to(scorer.device)
    weights = scorer.weights.to(scorer.device)
    return scorer.term_gradients(
        prompts,
        lambda scores, numbers: choice_cross_entropy(scores, answers[numbers]) * weights[numbers],
        "choices",
        examples,
    )


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("normalized_loss", choice_loss_terms, mean=True, gradients=choice_loss_gradients),
        Objective("loss", gold_loss_terms, mean=False, gradients=gold_loss_gradients),
        Objective("accuracy", error_terms, mean=True),  # as the error rate: lower is better
    )
}
UserObjective = Callable[[CodeScorer, torch.LongTensor], torch.Tensor]


def resolve_objective(
    objective: str | Objective | UserObjective | None, scorer: CodeScorer
) -> Objective | UserObjective:
    """A name, an objective or any `(scorer, codes) -> (num_codes,)`; None is the default for the scorer's examples.

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
    """Raises a ValueError where an objective has no gradients."""
    if not isinstance(objective, Objective) or objective.gradients is None:
        raise ValueError(
            f"The objective '{objective_name(objective)}' has no gradients: choose 'normalized_loss' or 'loss'."
        )


def objective_name(objective: Objective | UserObjective) -> str:
    """The name under which an objective stands in results and traces."""
    if isinstance(objective, Objective):
        return objective.name
    return getattr(objective, "__qualname__", type(objective).__qualname__)


def is_better(value: float, best: float) -> bool:
    """Whether `value` is lower than `best` by more than rounding."""
    return value < best - RELATIVE_TOLERANCE * max(1.0, abs(best))


def generation_objective(metric: Callable[[int, list[int]], float], **generation_kwargs: object) -> UserObjective:
    """An objective for free-form tasks: minus the mean of `metric(example_number, generated_token_ids)`.

    Args:
        metric: Higher is better, e.g. ROUGE of the decoded ids against that example's reference.
        **generation_kwargs: For transformers' `generate`, e.g. `max_new_tokens`.
    """

    def generation_metric(scorer: CodeScorer, codes: torch.LongTensor) -> torch.Tensor:
        generated = scorer.generate(codes, **generation_kwargs)
        values = [[metric(number, ids) for number, ids in enumerate(of_code)] for of_code in generated]
        return -torch.tensor(values, dtype=torch.float64).mean(1)

    return generation_metric
