"""The choice of a prompt for a plain language model: by a few labels, or by a vote without any.

Prompts stand where task codes stand in CTR. ZPS chooses one without labels (Liao et al. 2022, arXiv:2211.04668): here by
the rule of Code Ensemble applied to prompts, so that the two differ in nothing but what they choose between.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from evaluation.examples import TemplateExamples
from search import PromptScorer
from search.code_ensemble import ensemble_vote
from search.scoring.objectives import choice_cross_entropy


@dataclass(frozen=True)
class ChosenPrompt:
    """A prompt's template, and what it took to choose it, as fields of [`Score`]."""

    template: str
    cost: dict[str, Any]


def choose_prompt_by_loss(model: PreTrainedModel, examples: Sequence[TemplateExamples]) -> ChosenPrompt:
    """Choose the prompt with the least mean loss on the labeled examples.

    The loss is that of the answer among the choices, where there are choices.
    """
    start = time.perf_counter()
    losses = {}
    for each in _select_for_all_rows(examples, "few_shot"):
        losses[each.task.template.name] = _compute_mean_loss(PromptScorer(model, each.few_shot))
    cost = {"labelled": len(examples[0].few_shot), "evaluations": len(losses)}
    return ChosenPrompt(min(losses, key=losses.get), cost | {"seconds": time.perf_counter() - start})


def choose_prompt_by_vote(
    model: PreTrainedModel, examples: Sequence[TemplateExamples], num_prompts: int
) -> ChosenPrompt:
    """Choose the prompt that agrees most with the vote of all prompts on unlabeled examples.

    Args:
        model: A language model.
        examples: The examples under each prompt.
        num_prompts: Number of prompts that the filter for balance keeps for the vote.
    """
    start = time.perf_counter()
    scores = {}
    for each in _select_for_all_rows(examples, "unlabelled"):
        scorer = PromptScorer(model, each.unlabelled)
        scores[each.task.template.name] = scorer.choice_log_likelihoods()[0]
    names = list(scores)
    result = ensemble_vote(
        {"prompts": torch.stack(list(scores.values()))}, torch.arange(len(names))[:, None], names, num_prompts
    )
    cost = {"unlabelled": len(examples[0].unlabelled), "evaluations": len(names)}
    return ChosenPrompt(result.task_name, cost | {"seconds": time.perf_counter() - start})


def _compute_mean_loss(scorer: PromptScorer) -> float:
    if not scorer.has_choices:
        return float(scorer.gold_losses()[0].mean())
    answers = scorer.require_answers("Choosing a prompt by its loss")
    return float(choice_cross_entropy(scorer.choice_log_likelihoods()[0], answers).mean())


def _select_for_all_rows(examples: Sequence[TemplateExamples], part: str) -> list[TemplateExamples]:
    """Those under templates that apply to all rows drawn; some of PromptSource's are for one kind of row only."""
    sizes = [len(getattr(each, part)) for each in examples]
    return [each for each, size in zip(examples, sizes, strict=True) if size == max(sizes)]
