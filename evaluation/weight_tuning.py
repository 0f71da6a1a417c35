"""Gradient steps on a language model's weights with a few labeled examples, and back to what they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from evaluation.settings import FULL_TUNING, LORA
from search import PromptScorer
from search.early_stopping import EarlyStopping
from search.prompt_tuning import draw_held_back
from trainers.causal_inputs import prepare_causal_inputs
from trainers.collators import CTRDataCollator, get_pad_token

LEARNING_RATES = {LORA: 1e-3, FULL_TUNING: 1e-4}
BATCH_SIZE = 8
EVALUATE_EVERY, PATIENCE = 10, 3
LORA_RANK, LORA_ALPHA = 8, 16


@contextmanager
def tuned_weights(
    method: str, model: PreTrainedModel, few_shot: Dataset, held_back: int, steps: int, seed: int
) -> Iterator[int]:
    """Tune the language model within the block, and put its weights back afterwards.

    Args:
        method: `lora` or `full_tuning`.
        model: A language model.
        few_shot, held_back, steps, seed: See [`tune_weights`].

    Yields:
        Steps taken.
    """
    from peft import LoraConfig, TaskType, get_peft_model  # here, so that what tunes nothing does not wait for it

    required = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if method == LORA:
            kind = TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM
            config = LoraConfig(task_type=kind, r=LORA_RANK, lora_alpha=LORA_ALPHA)
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
    """Tune the parameters that require gradients by Adam; leave those of least loss on the examples held back.

    Args:
        model: A language model, or a peft model around one.
        few_shot: Rows with `input_ids` and `labels`, perhaps `choice_ids` and `answer`.
        held_back: Number of them that only decide when to stop.
        learning_rate: Constant learning rate.
        steps: Greatest number of steps, of `BATCH_SIZE` examples each.
        seed: Random seed of the examples held back and of the batches.

    Returns:
        Steps taken.
    """
    generator = random.Random(seed)
    answers = few_shot["answer"]
    kept_out = set(draw_held_back(list(answers), held_back, generator))
    rows = [{**row, "choice_ids": None, "task_id": 0} for i, row in enumerate(few_shot) if i not in kept_out]
    validation = PromptScorer(_get_plain(model), few_shot.select(sorted(kept_out))) if held_back else None
    collate = CTRDataCollator(get_pad_token(model.config), num_tasks=1)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=0.0)
    best, stopping = {}, EarlyStopping(PATIENCE)
    batches = draw_batches(len(rows), BATCH_SIZE, generator)
    was_training = model.training
    model.train()
    for step in tqdm(range(steps + 1), desc="tuning", leave=False):  # steps taken
        looks = validation is not None and (step % EVALUATE_EVERY == 0 or step == steps)
        if looks and stopping.note(step, float(validation.gold_losses().mean())):
            best = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        if step == steps or stopping.should_stop:
            break
        batch = collate([rows[i] for i in next(batches)])
        inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask", "labels")}
        if not model.config.is_encoder_decoder:
            inputs = prepare_causal_inputs(_get_plain(model), inputs)
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        optimizer.step()
    _copy_into(model, best)
    model.train(was_training)
    return step


def draw_batches(num_rows: int, batch_size: int, generator: random.Random) -> Iterator[list[int]]:
    """Draw row numbers for ever, `batch_size` at a time, pass after pass, each in an order of its own."""
    order: list[int] = []
    while True:
        if len(order) < batch_size:
            order += generator.sample(range(num_rows), num_rows)
        yield order[:batch_size]
        order = order[batch_size:]


def _get_plain(model: nn.Module) -> PreTrainedModel:
    return model if isinstance(model, PreTrainedModel) else model.get_base_model()


@torch.no_grad()
def _copy_into(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in values.items():
        parameters[name].copy_(value)
