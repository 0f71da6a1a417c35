"""The T0 baseline on one held-out data set: every prompt, the one that a few labels favour, and the one that a vote does.

Prompts stand where task codes stand in CTR. ZPS chooses one without labels (Liao et al. 2022, arXiv:2211.04668): here by
the rule of Code Ensemble applied to prompts, so that the two differ in nothing but what they choose between.
"""

import time
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from evaluation.protocol import Judge, TemplateExamples
from evaluation.score import Score
from search import PromptScorer
from search.code_ensemble import ensemble_vote
from search.scoring.objectives import choice_cross_entropy

T0, PROMPT_BY_LOSS, PROMPT_BY_VOTE = "T0", "T0, prompt by loss", "T0, prompt by vote (ZPS)"


def score_prompts(judges: Mapping[str, Judge], seed: int) -> list[Score]:
    """The language model under each prompt; of the majority class one score."""
    scores = [judge.majority(seed) for judge in judges.values() if judge.ranks][:1]
    return scores + [judge.raw_lm(seed, T0) for judge in judges.values()]


def prompt_by_loss(model: PreTrainedModel, examples: Sequence[TemplateExamples]) -> tuple[str, dict]:
    """The prompt with the least mean loss on the few labelled examples: of the answer among the choices, where there
    are choices.

    Returns:
        Its template's name, and the cost, as fields of [`Score`].
    """
    start = time.perf_counter()
    losses = {}
    for each in _for_all_rows(examples, "few_shot"):
        scorer = PromptScorer(model, each.few_shot)
        losses[each.task.template.name] = _mean_loss(scorer)
    cost = {"labelled": len(examples[0].few_shot), "evaluations": len(losses)}
    return min(losses, key=losses.get), cost | {"seconds": time.perf_counter() - start}


def prompt_by_vote(model: PreTrainedModel, examples: Sequence[TemplateExamples], num_prompts: int) -> tuple[str, dict]:
    """The prompt that agrees most with the vote of all prompts on unlabelled examples; returns as `prompt_by_loss`.

    Args:
        num_prompts: How many the filter for balance keeps for the vote.
    """
    start = time.perf_counter()
    scores = {}
    for each in _for_all_rows(examples, "unlabelled"):
        scorer = PromptScorer(model, each.unlabelled)
        scores[each.task.template.name] = scorer.choice_log_likelihoods()[0]
    names = list(scores)
    result = ensemble_vote(
        {"prompts": torch.stack(list(scores.values()))}, torch.arange(len(names))[:, None], names, num_prompts
    )
    cost = {"unlabelled": len(examples[0].unlabelled), "evaluations": len(names)}
    return result.task_name, cost | {"seconds": time.perf_counter() - start}


def _mean_loss(scorer: PromptScorer) -> float:
    if not scorer.has_choices:
        return float(scorer.gold_losses()[0].mean())
    answers = scorer.require_answers("Choosing a prompt by its loss")
    return float(choice_cross_entropy(scorer.choice_log_likelihoods()[0], answers).mean())


def _for_all_rows(examples: Sequence[TemplateExamples], part: str) -> list[TemplateExamples]:
    """Those under templates that apply to all rows drawn; some of PromptSource's are for one kind of row only."""
    sizes = [len(getattr(each, part)) for each in examples]
    return [each for each, size in zip(examples, sizes, strict=True) if size == max(sizes)]
