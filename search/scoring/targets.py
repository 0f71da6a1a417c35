"""What is scored: an example's token ids, checked, and the targets that examples ask for, each of them once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Targets:
    """What is to be scored: the distinct token sequences, and which of them each example asks for."""

    tokens: torch.LongTensor  # (num_targets, longest), padded with 0, on the model's device
    lengths: torch.LongTensor  # (num_targets,), on the CPU
    of_example: list[list[int]]  # rows of `tokens`, for each example
    slots: torch.LongTensor  # (num_examples, most asked): position in `of_example`, -1 where an example asks for fewer

    @classmethod
    def build(cls, sequences: list[list[list[int]]], device: torch.device) -> "Targets":
        """Each example's token sequences -> targets; sequences that an example repeats are scored once."""
        rows: dict[tuple[int, ...], int] = {}
        of_example, slots = [], []
        for example in sequences:
            ids = [rows.setdefault(tuple(sequence), len(rows)) for sequence in example]
            distinct = list(dict.fromkeys(ids))
            of_example.append(distinct)
            slots.append([distinct.index(i) for i in ids])
        return cls(
            tokens=padded([list(row) for row in rows], 0).to(device),
            lengths=torch.tensor([len(row) for row in rows]),
            of_example=of_example,
            slots=padded(slots, -1),
        )


def checked_example(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One example's token ids as lists, its answer, and its gold target (None where it is unknown).

    Raises:
        ValueError: It is malformed; the message names it by its number.
    """
    if "input_ids" not in row or len(row["input_ids"]) == 0:
        raise ValueError(f"Example {number} has no `input_ids`.")
    choices, answer = row.get("choice_ids"), row.get("answer")
    answer = -1 if answer is None else int(answer)
    labels = [int(token) for token in row.get("labels") or [] if token >= 0]
    if choices is not None:
        choices = [[int(token) for token in choice] for choice in choices]
        if not choices or not all(choices):
            raise ValueError(f"Example {number} has {'an empty answer choice' if choices else 'no answer choices'}.")
        if not -1 <= answer < len(choices):
            raise ValueError(f"Example {number} has the answer {answer}, but only {len(choices)} choices.")
    weight = row.get("weight")
    weight = 1.0 if weight is None else float(weight)
    if not 0 <= weight < math.inf:
        raise ValueError(f"Example {number} has the weight {weight}.")
    gold = labels or (choices[answer] if choices is not None and answer >= 0 else None)
    return {
        "input_ids": [int(token) for token in row["input_ids"]],
        "choice_ids": choices,
        "answer": answer,
        "gold": gold,
        "weight": weight,
    }


def padded(rows: list[list[int]], value: int) -> torch.LongTensor:
    """`(num_rows, longest)`."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
