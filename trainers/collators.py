"""Batches of tokenised examples, padded to the longest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

LABEL_PADDING = -100


@dataclass
class CTRDataCollator:
    """Pads `input_ids`, `labels` and, where present, `choice_ids`; other columns than its own are left out.

    Args:
        pad_token_id: Fills `input_ids`; `labels` and `choice_ids` are filled with -100.
        num_tasks: Task ids must be below it. Checked here, on the CPU, where a wrong one can still be named.
    """

    pad_token_id: int
    num_tasks: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch of `input_ids` and `attention_mask` `(batch, source_length)`, `labels` `(batch, target_length)` and
        `task_id` `(batch,)`; with `choice_ids` `(batch, num_choices, choice_length)` and `answer` `(batch,)` where
        any example has answer choices (-100 throughout and -1 for the others). All int64.

        Raises:
            ValueError: A task id is not below `num_tasks`.
        """
        batch = {
            "input_ids": _padded([f["input_ids"] for f in features], self.pad_token_id),
            "attention_mask": _padded([[1] * len(f["input_ids"]) for f in features], 0),
            "labels": _padded([f["labels"] for f in features], LABEL_PADDING),
            "task_id": torch.tensor([f["task_id"] for f in features]),
        }
        wrong = [f["task_id"] for f in features if not 0 <= f["task_id"] < self.num_tasks]
        if wrong:
            raise ValueError(
                f"An example has task_id {wrong[0]}, but the model has only {self.num_tasks} tasks "
                f"(0 to {self.num_tasks - 1}); was it made for another list of tasks?"
            )
        if any(f.get("choice_ids") for f in features):
            batch["choice_ids"] = pad_choices([f.get("choice_ids") or [] for f in features])
            batch["answer"] = torch.tensor([f["answer"] if f.get("choice_ids") else -1 for f in features])
        return batch


def pad_choices(choices: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
    """Ragged `[example][choice][token]` -> `(batch, num_choices, choice_length)`, filled with -100."""
    num_choices = max(len(example) for example in choices)
    length = max(len(choice) for example in choices for choice in example)
    padded = torch.full((len(choices), num_choices, length), LABEL_PADDING)
    for i, example in enumerate(choices):
        for j, choice in enumerate(example):
            padded[i, j, : len(choice)] = torch.tensor(choice)
    return padded


def _padded(sequences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(s) for s in sequences], batch_first=True, padding_value=value)
