"""The T0 baseline: every prompt, the one that a few labels favor, and the one that a vote does."""

from dataclasses import replace

from evaluation.dataset_run import DatasetRun
from evaluation.method_names import PROMPT_BY_LOSS, PROMPT_BY_VOTE, T0
from evaluation.prompt_choice import choose_prompt_by_vote
from evaluation.score import Score


def score_prompts(run: DatasetRun) -> list[Score]:
    """Score a plain language model under each prompt, and under chosen ones; the majority class has one score."""
    if run.is_ctr:
        return []
    judges = run.judges.values()
    scores = [judge.score_majority(run.seed) for judge in judges if judge.ranks][:1]
    scores += [judge.score_raw_lm(run.seed, T0) for judge in judges]
    chosen = {}
    if run.settings.do_prompt_selection or run.tuning.tuning_methods:
        chosen[PROMPT_BY_LOSS] = run.prompt_by_loss
    if run.settings.do_prompt_selection and run.examples[0].task.has_choices:
        chosen[PROMPT_BY_VOTE] = choose_prompt_by_vote(run.model, run.examples, run.search.num_codes)
    for method, prompt in chosen.items():
        scores.append(replace(run.judges[prompt.template].score_raw_lm(run.seed, method), **prompt.cost))
    return scores
