"""What is asked about texts: a task's template, lengths, prompt and answers, as the model keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from modeling_ctr import CTRPreTrainedModel
from tasks import FeatureBuilder, Task

from .calibration import Calibration
from .config import FitConfig
from .labels import Label
from .task_texts import make_task


@dataclass(frozen=True)
class Question:
    """A task as it is asked.

    Attributes:
        task: Renders texts.
        builder: Tokenizes them, to the task's lengths.
        vectors: Prompt vectors `(prompt_length, width)`.
        labels: Label values, in the order of the answers; None where it has no answers of its own.
        calibration: Correction of the answers' probabilities.
    """

    task: Task
    builder: FeatureBuilder
    vectors: torch.Tensor
    labels: list[Label] | None
    calibration: Calibration


def make_question(
    model: CTRPreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, choices_by_row: bool = False
) -> Question:
    """Make the question of a task that the model knows.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        name: Name of the task.
        choices_by_row: Whether each text comes with choices of its own, in place of the task's answers.
    """
    details = model.task_details(name)
    builder = FeatureBuilder(
        tokenizer,
        FitConfig.max_source_length,
        FitConfig.max_target_length,
        decoder_only=not model.config.is_encoder_decoder,
    )
    return Question(
        task=make_task(name, details, choices_by_row),
        builder=builder.with_lengths(details.max_source_length, details.max_target_length),
        vectors=model.get_task_vectors(name).detach(),
        labels=details.answers if details.labels is None else details.labels,
        calibration=Calibration(details.temperature or 1.0, None if choices_by_row else details.prior),
    )


def check_new_name(model: CTRPreTrainedModel, name: str) -> None:
    """Raise a ValueError where a task cannot be learned under this name."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"`name` must be a text that names the task, but is {name!r}.")
    if name in model.config.task_names:
        raise ValueError(f"'{name}' is a training task of the model, which is not learned anew: choose another name.")


def find_task_name(model: CTRPreTrainedModel, task: str | None, last: str | None = None) -> str:
    """The task that is asked for, or the one that there can be no doubt about.

    Args:
        model: The model.
        task: Name of the task; None for the one learned last, the model's default, or the only one that was added.
        last: Name of the task learned last, if one was.

    Raises:
        ValueError: There is no such task, or several could be meant.
    """
    names = model.task_names
    task = task or last or model.config.default_task
    if task is None:
        added = names[model.config.num_tasks :]
        if not added:
            raise ValueError("No task was learned yet: call `fit`, or name one of the model's training tasks.")
        if len(added) > 1:
            raise ValueError(f"Name the task: the model knows {', '.join(map(repr, added))}.")
        task = added[0]
    model.task_details(task)  # raises where it is unknown, with names like it
    return task


def make_questions(
    model: CTRPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    num_texts: int,
    task: str | Sequence[str] | None,
    last: str | None,
    choices_by_row: bool = False,
) -> tuple[list[Question], list[int]]:
    """Make the distinct questions about some texts, and number the one that is asked of each.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        num_texts: Number of texts.
        task: Name of the task, or a name for each text; None as in [`find_task_name`].
        last: Name of the task learned last.
        choices_by_row: Whether each text comes with choices of its own.

    Raises:
        ValueError: A task is unknown, or there is not one for each text.
    """
    if task is None or isinstance(task, str):
        names, asked = [find_task_name(model, task, last)], [0] * num_texts
    else:
        if len(task) != num_texts:
            raise ValueError(f"There are {num_texts} texts, but {len(task)} tasks: give one for each text, or one.")
        names = [find_task_name(model, name) for name in dict.fromkeys(task)]
        numbers = {name: number for number, name in enumerate(names)}
        asked = [numbers[name] for name in task]
    return [make_question(model, tokenizer, name, choices_by_row) for name in names], asked
