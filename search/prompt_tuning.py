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
    """Tune prompt vectors by gradient steps (Adam), the language model frozen.

    Every step sees all examples. With `held_back` the prompt is the one with the least loss on examples that the steps
    do not see, the start included; without, it is that of the last step. Dropout is off: the few examples are seen so
    often that early stopping is what has to keep the prompt from learning them by heart.

    Args:
        model: A CTR model, or any language model that [`PromptScorer`] takes with prompt vectors.
        examples: Labeled rows, as for [`PromptScorer`].
        start: `(prompt_length, width)`: e.g. `model.prompt_vectors(code[None])[0]` of a found code.
        objective: "normalized_loss", "loss" or an [`Objective`] with gradients; see [`resolve_objective`]. The usual
            prompt tuning minimizes "loss".
        steps: Gradient steps, at most.
        learning_rate: Constant rate. Adam moves every number by about that much a step, whatever the loss's scale: it
            should be a few percent of the start's typical size.
        held_back: Number of examples to hold back, drawn evenly over the answers.
        evaluate_every: Steps between two looks at the examples held back.
        patience: Number of looks in a row without a better one after which to end.
        seed: Random seed of the draw of examples held back.
        token_budget: Tokens of a batch, see [`PromptScorer`].
        progress: Whether to show a bar.

    Raises:
        ValueError: The start does not fit the model, the objective has no gradients, or an argument is out of range.
        KeyboardInterrupt: Interrupted before the first step; later, the best prompt so far is returned.
    """
    for name, value in [("steps", steps), ("evaluate_every", evaluate_every), ("patience", patience)]:
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")
    tuner = _Tuner(PromptScorer(model, examples, token_budget), objective, start, learning_rate, held_back, seed)
    return tuner.run(steps, evaluate_every, EarlyStopping(patience), progress)


class _Tuner:
    """The prompt that is tuned, and the best so far."""

    def __init__(
        self,
        scorer: PromptScorer,
        objective: str | Objective | None,
        start: torch.Tensor,
        learning_rate: float,
        held_back: int,
        seed: int,
    ):
        self.scorer = scorer
        self.objective: Objective = resolve_objective(objective, scorer)
        require_gradients(self.objective)
        if not 0 <= held_back < scorer.num_examples:
            raise ValueError(
                f"`held_back` must be from 0 to {scorer.num_examples - 1} of the {scorer.num_examples} examples, but is "
                f"{held_back}."
            )
        if start.dim() != 2 or not start.is_floating_point() or not len(start):
            raise ValueError(
                f"The start must be float vectors (prompt_length, width), but has shape {tuple(start.shape)}."
            )
        self.held_back = draw_held_back(scorer.examples.answers.tolist(), held_back, random.Random(seed))
        self.seen = torch.tensor([i for i in range(scorer.num_examples) if i not in set(self.held_back)])
        self.vectors = start.detach().to(scorer.device, torch.float32, copy=True).requires_grad_()
        self.learning_rate = learning_rate
        self.optimizer = torch.optim.Adam([self.vectors], lr=learning_rate)
        self.losses: list[float] = []
        self.best, self.best_step = self.vectors.detach().clone(), 0

    def run(self, steps: int, evaluate_every: int, stopping: EarlyStopping, progress: bool) -> TunedPrompt:
        """Take steps until they are enough, or what is held back gets no better."""
        stopped = "steps"
        try:
            with tqdm(
                total=steps, unit="step", desc="prompt tuning", disable=not (progress and is_main_process())
            ) as bar:
                if self.held_back:
                    self._look(0, stopping)
                for step in range(1, steps + 1):
                    self._take_step(step)
                    if not self.held_back:
                        self.best, self.best_step = self.vectors.detach(), step
                    elif step % evaluate_every == 0 or step == steps:
                        self._look(step, stopping)
                    bar.set_postfix(loss=f"{self.losses[-1]:.4f}", refresh=False)
                    bar.update()
                    if stopping.should_stop:
                        stopped = "held_back_loss"
                        break
        except KeyboardInterrupt:
            if not self.losses or num_processes() > 1:  # the processes may have been interrupted at different steps
                raise
            stopped = "interrupted"
            logger.warning("Prompt tuning was interrupted; its result is the best prompt so far.")
        record = PromptTuningResult(
            objective=self.objective.name,
            learning_rate=self.learning_rate,
            losses=self.losses,
            held_back=self.held_back,
            held_back_losses=stopping.looks,
            step=self.best_step,
            stopped=stopped,
        )
        return TunedPrompt(self.best.cpu(), record)

    def _take_step(self, step: int) -> None:
        terms, gradients = self.objective.gradients(self.scorer, self.vectors.detach()[None], self.seen)
        loss = terms[0, self.seen].mean().item()
        if not math.isfinite(loss):
            raise ValueError(f"The loss is {loss} at step {step}: take a lower learning rate.")
        self.losses.append(loss)
        self.vectors.grad = gradients[0] / len(self.seen)
        self.optimizer.step()

    def _look(self, step: int, stopping: EarlyStopping) -> None:
        """Note the loss of the examples held back, and keep the prompt if it is the best."""
        validation = torch.tensor(self.held_back)
        terms = self.objective.prompt_terms(self.scorer, self.vectors.detach()[None], validation)
        if stopping.note(step, terms.mean().item()):
            self.best, self.best_step = self.vectors.detach().clone(), step


def draw_held_back(answers: list[int], count: int, draw: random.Random) -> list[int]:
    """Draw numbers of `count` examples, in order, so that all answers are held back as often as can be."""
    numbers = list(range(len(answers)))
    draw.shuffle(numbers)
    drawn: dict[int, int] = {}
    turns = {}
    for number in numbers:
        turns[number] = drawn[answers[number]] = drawn.get(answers[number], -1) + 1
    return sorted(sorted(numbers, key=turns.__getitem__)[:count])
