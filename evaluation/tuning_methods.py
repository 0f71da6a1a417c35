"""What else a few labelled examples are good for: prompt tuning, LoRA and full tuning of the language model.

All see the same few-shot examples as Bitwise Search. A quarter of them is held back, and the weights with the least loss
on these are kept (early stopping), since a few examples are learned by heart within some dozens of steps.
"""

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from evaluation.protocol import Judge
from evaluation.score import Score
from modeling_ctr import CTRForConditionalGeneration
from search import PromptScorer, save_prompt_adapter, tune_prompt, vocabulary_prompt
from search.prompt_tuning import held_back_examples
from trainers.collators import CTRDataCollator

PROMPT_TUNING, CODE_TUNING, LORA, FULL_TUNING = "prompt_tuning", "code_tuning", "lora", "full_tuning"
METHODS = {
    PROMPT_TUNING: "prompt tuning",
    CODE_TUNING: "prompt tuning from the training code",
    LORA: "LoRA",
    FULL_TUNING: "full tuning",
}
PROMPT_METHODS = (PROMPT_TUNING, CODE_TUNING)  # which leave an adapter of peft
LEARNING_RATES = {LORA: 1e-3, FULL_TUNING: 1e-4}
# Of prompt tuning, as a share of the start's typical size: T5's word embeddings are some 30 times larger than code vectors.
PROMPT_RATE = 0.03
PROMPT_LENGTH = 10  # where no task code says it
HELD_BACK_SHARE = 0.25
BATCH_SIZE = 8
EVALUATE_EVERY, PATIENCE = 10, 3
LORA_RANK, LORA_ALPHA = 8, 16


@dataclass(frozen=True)
class TuningSettings:
    """Which of `METHODS` are run, with how many steps at most."""

    methods: tuple[str, ...] = ()
    steps: int = 100


def score_tuning(
    method: str,
    judge: Judge,
    few_shot: Dataset,
    settings: TuningSettings,
    seed: int,
    adapter: Path,
    code: list[int] | None = None,
    prefix: str = "",
) -> Score:
    """Tune by one method on the few-shot examples and score what came out; the model is afterwards as it was before.

    Args:
        method: A key of `METHODS`.
        judge: Of the same template and model.
        few_shot: Labelled examples.
        settings: How to tune.
        seed: Of the examples held back, of random starts and of dropout.
        adapter: A folder for the tuned prompt, as an adapter of peft; prompt tuning alone writes it.
        code: The start of `code_tuning`, for a CTR model: the best training code. Whether a found one is a better start
            differs between models (docs/performance.md), and this one takes no search.
        prefix: Goes before the method's name in the score.
    """
    start = time.perf_counter()
    model = judge.model
    held_back = round(HELD_BACK_SHARE * len(few_shot))
    if method in PROMPT_METHODS:
        vectors = _code_vectors(model, code) if method == CODE_TUNING else _word_vectors(model, seed)
        tuned = tune_prompt(
            model,
            few_shot,
            vectors,
            objective="loss" if method == PROMPT_TUNING else None,
            steps=settings.steps,
            learning_rate=PROMPT_RATE * vectors.square().mean().sqrt().item(),
            held_back=held_back,
            evaluate_every=EVALUATE_EVERY,
            patience=PATIENCE,
            seed=seed,
            progress=False,
        )
        if tuned.record.stopped == "interrupted":  # ends the run, or half a tuning would be scored and kept
            raise KeyboardInterrupt
        steps, seconds = len(tuned.record.losses), time.perf_counter() - start
        save_prompt_adapter(tuned.vectors, model, adapter)
        answers = judge.answers_behind(tuned.vectors)
    else:
        language_model = model.backbone if isinstance(model, CTRForConditionalGeneration) else model
        with _tuned_weights(method, language_model, few_shot, held_back, settings.steps, seed) as steps:
            seconds = time.perf_counter() - start
            answers = judge.answers_behind(None)
    cost = {"labelled": len(few_shot), "evaluations": steps, "seconds": seconds}
    return judge.scored(prefix + METHODS[method], answers, seed, **cost)


@torch.no_grad()
def _code_vectors(model: CTRForConditionalGeneration, code: list[int]) -> torch.Tensor:
    return model.prompt_vectors(torch.tensor([code], device=model.device))[0].float().cpu()


def _word_vectors(model: PreTrainedModel, seed: int) -> torch.Tensor:
    is_ctr = isinstance(model, CTRForConditionalGeneration)
    return vocabulary_prompt(model, model.config.code_length if is_ctr else PROMPT_LENGTH, seed)


@contextmanager
def _tuned_weights(
    method: str, model: PreTrainedModel, few_shot: Dataset, held_back: int, steps: int, seed: int
) -> Iterator[int]:
    """Within it, the language model is tuned; gives the number of steps taken."""
    required = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if method == LORA:
            config = LoraConfig(task_type=TaskType.SEQ_2_SEQ_LM, r=LORA_RANK, lora_alpha=LORA_ALPHA)
            adapted = get_peft_model(model, config)
            before = None
        else:
            adapted = model.requires_grad_(True)
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        try:
            yield tune_weights(adapted, few_shot, held_back, LEARNING_RATES[method], steps, seed)
        finally:
            if before is None:
                adapted.unload()
            else:
                _copy_into(model, before)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(required[name])


def tune_weights(
    model: nn.Module, few_shot: Dataset, held_back: int, learning_rate: float, steps: int, seed: int
) -> int:
    """Adam on the parameters that require gradients, those of least loss on the examples held back left in place.

    Args:
        model: A seq2seq language model, or a peft model around one.
        few_shot: Rows with `input_ids` and `labels`, perhaps `choice_ids` and `answer`.
        held_back: How many of them only decide when to stop.
        learning_rate: Constant.
        steps: At most, of `BATCH_SIZE` examples each.
        seed: Of the examples held back and of the batches.

    Returns:
        Steps taken.
    """
    generator = random.Random(seed)
    answers = few_shot["answer"]
    kept_out = set(held_back_examples(list(answers), held_back, generator))
    rows = [{**row, "choice_ids": None, "task_id": 0} for i, row in enumerate(few_shot) if i not in kept_out]
    validation = PromptScorer(_plain(model), few_shot.select(sorted(kept_out))) if held_back else None
    collate = CTRDataCollator(model.config.pad_token_id, num_tasks=1)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=0.0)
    best_loss, best, looks_since = math.inf, {}, 0
    order: list[int] = []
    was_training = model.training
    model.train()
    for step in tqdm(range(steps + 1), desc="tuning", leave=False):  # steps taken
        if validation is not None and (step % EVALUATE_EVERY == 0 or step == steps):
            loss = float(validation.gold_losses().mean())
            looks_since += 1
            if loss < best_loss:
                best_loss, looks_since = loss, 0
                best = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        if step == steps or looks_since == PATIENCE:
            break
        if len(order) < BATCH_SIZE:
            order += generator.sample(range(len(rows)), len(rows))
        chosen, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        batch = collate([rows[i] for i in chosen])
        inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask", "labels")}
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        optimizer.step()
    _copy_into(model, best)
    model.train(was_training)
    return step


def _plain(model: nn.Module) -> PreTrainedModel:
    return model if isinstance(model, PreTrainedModel) else model.get_base_model()


@torch.no_grad()
def _copy_into(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in values.items():
        parameters[name].copy_(value)
