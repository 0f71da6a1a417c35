"""Search, then tune: prompt vectors, such as a found code's, improved by gradient steps on the same few examples."""

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils import logging

from .early_stopping import EarlyStopping, HeldBackLoss
from .results import SearchResult
from .scoring.objectives import Objective, require_gradients, resolve_objective
from .scoring.processes import is_main_process, num_processes
from .scoring.prompt_scorer import PromptScorer

logger = logging.get_logger(__name__)


@strict
@dataclass
class PromptTuningResult(SearchResult):
    """Record of [`tune_prompt`].

    Args:
        objective: Name of the objective.
        learning_rate: Adam's.
        losses: Mean loss of the examples seen, before each step.
        held_back: Numbers of the examples held back.
        held_back_losses: Their mean loss, each time it was looked at.
        step: The step whose prompt was kept; 0 is the start.
        stopped: Why it ended: "steps", "held_back_loss" or "interrupted".
    """

    objective: str
    learning_rate: float
    losses: list[float]
    held_back: list[int]
    held_back_losses: list[HeldBackLoss]
    step: int
    stopped: str


@dataclass(frozen=True)
class TunedPrompt:
    """What [`tune_prompt`] returns.

    Attributes:
        vectors: `(prompt_length, width)`, float32, on the CPU. For [`PromptScorer`]: `vectors[None]`.
        record: How it went.
    """

    vectors: torch.Tensor
    record: PromptTuningResult


def tune_prompt(
    model: PreTrainedModel,
    examples: Iterable[Mapping[str, Any]],
    start: torch.Tensor,
    objective: str | Objective | None = None,
    steps: int = 100,
    learning_rate: float = 0.03,
    held_back: int = 0,
    evaluate_every: int = 10,
    patience: int = 3,
    seed: int = 42,
    token_budget: int | None = None,
    progress: bool = True,
) -> TunedPrompt:
    """Prompt tuning: gradient steps (Adam) on prompt vectors in front of the input, the language model frozen.

    Every step sees all examples. With `held_back` the prompt is the one with the least loss on examples that the steps
    do not see, the start included; without, it is that of the last step. Dropout is off: the few examples are seen so
    often that early stopping is what has to keep the prompt from learning them by heart.

    Args:
        model: A CTR model, or any seq2seq language model of a supported family.
        examples: Labelled rows, as for [`PromptScorer`].
        start: `(prompt_length, width)`: e.g. `model.prompt_vectors(code[None])[0]` of a found code.
        objective: "normalized_loss", "loss" or an [`Objective`] with gradients; see [`resolve_objective`]. The usual
            prompt tuning minimises "loss".
        steps: Gradient steps, at most.
        learning_rate: Constant. Adam moves every number by about so much a step, whatever the loss's scale: it
            should be a few percent of the start's typical size.
        held_back: How many examples to hold back, drawn evenly over the answers.
        evaluate_every: Steps between two looks at the examples held back.
        patience: End after so many looks without a better one.
        seed: Of the draw of examples held back.
        token_budget: See [`PromptScorer`].
        progress: Show a bar.

    Raises:
        ValueError: The start does not fit the model, the objective has no gradients, or an argument is out of range.
        KeyboardInterrupt: Interrupted before the first step; later, the best prompt so far is returned.
    """
    for name, value in [("steps", steps), ("evaluate_every", evaluate_every), ("patience", patience)]:
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")
    scorer = PromptScorer(model, examples, token_budget)
    objective = resolve_objective(objective, scorer)
    require_gradients(objective)
    if not 0 <= held_back < scorer.num_examples:
        raise ValueError(
            f"`held_back` must be from 0 to {scorer.num_examples - 1} of the {scorer.num_examples} examples, but is "
            f"{held_back}."
        )
    if start.dim() != 2 or not start.is_floating_point() or not len(start):
        raise ValueError(
            f"The start must be float vectors (prompt_length, width), but has shape {tuple(start.shape)}."
        )
    kept_out = draw_held_back(scorer.examples.answers.tolist(), held_back, random.Random(seed))
    seen = torch.tensor([i for i in range(scorer.num_examples) if i not in set(kept_out)])
    validation = torch.tensor(kept_out, dtype=torch.long)

    vectors = start.detach().to(scorer.device, torch.float32, copy=True).requires_grad_()
    optimizer = torch.optim.Adam([vectors], lr=learning_rate)
    losses: list[float] = []
    stopping = EarlyStopping(patience)
    best, best_step, stopped = vectors.detach().clone(), 0, "steps"

    def look(step: int) -> bool:
        """Note the loss of the examples held back; whether to go on."""
        nonlocal best, best_step
        terms = objective.prompt_terms(scorer, vectors.detach()[None], validation)
        if stopping.note(step, terms.mean().item()):
            best, best_step = vectors.detach().clone(), step
        return not stopping.should_stop

    try:
        with tqdm(total=steps, unit="step", desc="prompt tuning", disable=not (progress and is_main_process())) as bar:
            going_on = not held_back or look(0)
            for step in range(1, steps + 1):
                terms, gradients = objective.gradients(scorer, vectors.detach()[None], seen)
                loss = terms[0, seen].mean().item()
                if not math.isfinite(loss):
                    raise ValueError(f"The loss is {loss} at step {step}: take a lower learning rate.")
                losses.append(loss)
                vectors.grad = gradients[0] / len(seen)
                optimizer.step()
                if not held_back:
                    best, best_step = vectors.detach(), step
                elif step % evaluate_every == 0 or step == steps:
                    going_on = look(step)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update()
                if not going_on:
                    stopped = "held_back_loss"
                    break
    except KeyboardInterrupt:
        if not losses or num_processes() > 1:  # the processes may have been interrupted at different steps
            raise
        stopped = "interrupted"
        logger.warning("Prompt tuning was interrupted; its result is the best prompt so far.")
    record = PromptTuningResult(
        objective=objective.name,
        learning_rate=learning_rate,
        losses=losses,
        held_back=kept_out,
        held_back_losses=stopping.looks,
        step=best_step,
        stopped=stopped,
    )
    return TunedPrompt(best.cpu(), record)


def draw_held_back(answers: list[int], count: int, draw: random.Random) -> list[int]:
    """Numbers of `count` examples, in order, drawn so that all answers are held back as often as can be."""
    numbers = list(range(len(answers)))
    draw.shuffle(numbers)
    drawn: dict[int, int] = {}
    turns = {}
    for number in numbers:
        turns[number] = drawn[answers[number]] = drawn.get(answers[number], -1) + 1
    return sorted(sorted(numbers, key=turns.__getitem__)[:count])
