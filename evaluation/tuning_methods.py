"""What else a few labeled examples are good for: prompt tuning, LoRA and full tuning of the language model.

All see the same few-shot examples as Bitwise Search. A quarter of them is held back, and the weights with the least loss
on these are kept (early stopping), since a few examples are learned by heart within some dozens of steps.
"""

import time
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from evaluation.dataset_run import DatasetRun
from evaluation.judge import Judge
from evaluation.kept_results import keep, load_kept
from evaluation.method_names import BEST_BY_LOSS
from evaluation.result_files import get_tuning_path
from evaluation.score import Score, load_scores, save_scores
from evaluation.settings import CODE_TUNING, PROMPT_TUNING, TUNING_METHODS
from evaluation.weight_tuning import EVALUATE_EVERY, PATIENCE, tuned_weights
from modeling_ctr import CTRPreTrainedModel
from search import load_prompt_adapter, save_prompt_adapter, tune_prompt, vocabulary_prompt
from search.scoring.processes import on_main_process

logger = logging.get_logger(__name__)

PROMPT_METHODS = (PROMPT_TUNING, CODE_TUNING)  # which leave an adapter of peft
# Learning rate of prompt tuning as a share of the start's typical size: T5's word embeddings are some 30 times larger than
# code vectors.
PROMPT_RATE = 0.03
PROMPT_LENGTH = 10  # where no task code says it
HELD_BACK_SHARE = 0.25


def score_tuning(run: DatasetRun) -> list[Score]:
    """Score the rivals that tune on the few-shot examples; kept in the run's folder as they come.

    A CTR model is tuned under each template, a plain language model under the prompt with the least loss.
    """
    if not run.tuning.tuning_methods:
        return []
    if run.is_ctr:
        starts = {each.template: each.code for each in run.found if each.method == BEST_BY_LOSS}
        return [score for template in run.judges for score in _score_template(run, template, starts.get(template))]
    return _score_template(run, run.prompt_by_loss.template, None, prefix="T0 + ")


def _score_template(run: DatasetRun, template: str, code: list[int] | None, prefix: str = "") -> list[Score]:
    few_shot = next(each.few_shot for each in run.examples if each.task.template.name == template)
    scores = []
    for method in run.tuning.tuning_methods:
        adapter = get_tuning_path(run.folder, method, template)
        path = adapter.with_name(f"{adapter.name}.json")
        settings = {"steps": run.tuning.tuning_steps, "length_normalization": run.settings.length_normalization}
        asked = {**run.inputs, "settings": settings | {"start": code if method == CODE_TUNING else None}}
        kept = load_kept(path, asked, load_scores)
        if kept is None or (method in PROMPT_METHODS and not has_adapter(adapter)):
            logger.info(f"{run.judges[template].dataset}, {template}: {method}")
            kept = [tune_and_score(method, run.judges[template], few_shot, run, adapter, code, prefix)]
            keep(partial(save_scores, kept, path, asked))
        scores += kept
    return scores


def has_whole_adapters(run: DatasetRun) -> bool:
    """Whether every tuned prompt that the run's settings ask for can be read; the log tells which cannot."""
    methods = [method for method in run.tuning.tuning_methods if method in PROMPT_METHODS]
    templates = [each.task.template.name for each in run.examples] if run.is_ctr else []
    return all(has_adapter(get_tuning_path(run.folder, m, template)) for m in methods for template in templates)


def has_adapter(folder: Path) -> bool:
    """Whether a tuned prompt can be read from a folder; the log tells where it cannot."""

    def look() -> bool:
        try:
            load_prompt_adapter(folder)
        except (OSError, ValueError, SafetensorError) as error:
            logger.warning(f"The tuned prompt in '{folder}' cannot be read ({error}), and is tuned again.")
            return False
        return True

    return on_main_process(look)


def tune_and_score(
    method: str,
    judge: Judge,
    few_shot: Dataset,
    run: DatasetRun,
    adapter: Path,
    code: list[int] | None = None,
    prefix: str = "",
) -> Score:
    """Tune by one method on the few-shot examples and score what came out; the model is afterwards as it was before.

    Args:
        method: Key of `TUNING_METHODS`.
        judge: Scores, with the same template and model.
        few_shot: Labeled examples.
        run: Its settings and seed count.
        adapter: Folder for the tuned prompt, as an adapter of peft; prompt tuning alone writes it.
        code: Start of `code_tuning`, for a CTR model: the best training code. Whether a found one is a better start
            differs between models (docs/performance.md), and this one takes no search.
        prefix: Text before the method's name in the score.
    """
    start = time.perf_counter()
    model, steps, seed = judge.model, run.tuning.tuning_steps, run.seed
    held_back = round(HELD_BACK_SHARE * len(few_shot))
    if method in PROMPT_METHODS:
        vectors = _get_code_vectors(model, code) if method == CODE_TUNING else _draw_word_vectors(model, seed)
        tuned = tune_prompt(
            model,
            few_shot,
            vectors,
            objective="loss" if method == PROMPT_TUNING else None,
            steps=steps,
            learning_rate=PROMPT_RATE * vectors.square().mean().sqrt().item(),
            held_back=held_back,
            evaluate_every=EVALUATE_EVERY,
            patience=PATIENCE,
            seed=seed,
            progress=False,
        )
        if tuned.record.stopped == "interrupted":  # ends the run, or half a tuning would be scored and kept
            raise KeyboardInterrupt
        taken, seconds = len(tuned.record.losses), time.perf_counter() - start
        save_prompt_adapter(tuned.vectors, model, adapter)
        answers = judge.answer_with_prompt(tuned.vectors)
    else:
        language_model = model.backbone if isinstance(model, CTRPreTrainedModel) else model
        with tuned_weights(method, language_model, few_shot, held_back, steps, seed) as taken:
            seconds = time.perf_counter() - start
            answers = judge.answer_with_prompt(None)
    cost = {"labelled": len(few_shot), "evaluations": taken, "seconds": seconds}
    return judge.scored(prefix + TUNING_METHODS[method], answers, seed, **cost)


@torch.no_grad()
def _get_code_vectors(model: CTRPreTrainedModel, code: list[int]) -> torch.Tensor:
    return model.prompt_vectors(torch.tensor([code], device=model.device))[0].float().cpu()


def _draw_word_vectors(model: PreTrainedModel, seed: int) -> torch.Tensor:
    is_ctr = isinstance(model, CTRPreTrainedModel)
    return vocabulary_prompt(model, model.config.code_length if is_ctr else PROMPT_LENGTH, seed)
