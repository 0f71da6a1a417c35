"""Batches of tokenized examples, padded to the longest."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedConfig

LABEL_PADDING = -100


@dataclass
class CTRDataCollator:
    """Pad `input_ids` and, where present, `attention_mask`, `labels` and `choice_ids`; other columns are left out.

    Args:
        pad_token_id: Id that fills up `input_ids`; `labels` and `choice_ids` are filled with -100.
        num_tasks: Number of tasks; ids must be below it. Checked here, on the CPU, where a wrong one can still be named.
    """

    pad_token_id: int
    num_tasks: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch of `input_ids` and `attention_mask` `(batch, source_length)`, `labels` `(batch, target_length)` and
        `task_id` `(batch,)`; with `choice_ids` `(batch, num_choices, choice_length)` and `answer` `(batch,)` where
        any example has answer choices (-100 throughout and -1 for the others). All int64. No `labels` where examples
        have none, to predict them; an `answer` that is missing is -1.

        Args:
            features: Examples, whose columns may hold lists, arrays or tensors.

        Raises:
            ValueError: A task id is no integer or not below `num_tasks`; a column is missing.
        """
        for name in ("input_ids", "task_id"):
            if name not in features[0]:
                raise ValueError(
                    f"Examples have no column '{name}', only {', '.join(features[0])}: they need `input_ids`, `task_id` "
                    "(a position in the model's `task_names`) and, to be trained on, `labels`."
                )
        batch = {
            "input_ids": _padded([f["input_ids"] for f in features], self.pad_token_id),
            "attention_mask": _padded([f.get("attention_mask", [1] * len(f["input_ids"])) for f in features], 0),
            "task_id": torch.tensor([self._checked(f["task_id"]) for f in features]),
        }
        if "labels" in features[0]:
            batch["labels"] = _padded([f["labels"] for f in features], LABEL_PADDING)
        choices = [[] if f.get("choice_ids") is None else f["choice_ids"] for f in features]
        if any(len(c) for c in choices):
            batch["choice_ids"] = pad_choices(choices)
            batch["answer"] = torch.tensor(
                [int(f.get("answer", -1)) if len(c) else -1 for f, c in zip(features, choices, strict=True)]
            )
        return batch

    def _checked(self, task_id: Any) -> int:
        try:
            position = operator.index(task_id)
        except TypeError as error:
            raise ValueError(
                f"An example has task_id {task_id!r}, which is no integer; `model.get_task_id(name)` gives that of a name."
            ) from error
        if not 0 <= position < self.num_tasks:
            raise ValueError(
                f"An example has task_id {position}, but the model has only {self.num_tasks} tasks "
                f"(0 to {self.num_tasks - 1}); was it made for another list of tasks?"
            )
        return position


def get_pad_token(config: PreTrainedConfig) -> int:
    """Get the id that fills up batches: the model's padding token, or, as most decoder-only models have none, an end."""
    ends = config.eos_token_id
    return (ends[0] if isinstance(ends, list) else ends) if config.pad_token_id is None else config.pad_token_id


def pad_choices(choices: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
    """Ragged `[example][choice][token]` -> `(batch, num_choices, choice_length)`, filled with -100."""
    num_choices = max(len(example) for example in choices)
    length = max(len(choice) for example in choices for choice in example)
    padded = torch.full((len(choices), num_choices, length), LABEL_PADDING)
    for i, example in enumerate(choices):
        for j, choice in enumerate(example):
            padded[i, j, : len(choice)] = torch.as_tensor(choice, dtype=torch.int64)
    return padded


def _padded(sequences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    # The dtype is that of an empty sequence, too.
    tensors = [torch.as_tensor(s, dtype=torch.int64) for s in sequences]
    return pad_sequence(tensors, batch_first=True, padding_value=value)
