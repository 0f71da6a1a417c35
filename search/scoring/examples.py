"""A task's examples as scorers take them: checked, their targets and answers at hand."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from .fingerprints import examples_fingerprint
from .targets import Targets, pad_rows


class ScoredExamples:
    """Examples whose answers are to be scored.

    Args:
        examples: Rows with `input_ids`, and `labels` and/or `choice_ids` with `answer` (the gold choice, -1 or absent
            where it is unknown), all as token ids without padding; `weight` (default 1) multiplies a row's loss.
        device: Device of the language model.
        vocab_size: Number of its word embeddings.

    Attributes:
        count (`int`): Number of examples.
        lengths (`torch.LongTensor`): `(count,)`, tokens of each input, on the CPU.
        inputs (`torch.LongTensor`): `(count, longest)`, padded with 0, on the device.
        answers (`torch.LongTensor`): `(count,)`, -1 where unknown.
        weights (`torch.DoubleTensor`): `(count,)`.
        choices (`Targets | None`): The answer choices, where there are any.
        gold (`Targets | None`): The gold targets, where all are known.
        gold_is_choice (`bool`): Whether the gold target is the gold choice throughout, so that its loss is known from the
            choices' scores.
        fingerprint (`str`): A digest of all of it.

    Raises:
        ValueError: There are no examples, or one is malformed; the message names it.
    """

    def __init__(self, examples: Iterable[Mapping[str, Any]], device: torch.device, vocab_size: int):
        rows = [check_example(row, number) for number, row in enumerate(examples)]
        _require_known_tokens(rows, vocab_size)
        if not rows:
            raise ValueError("There are no examples to score.")
        self.count = len(rows)
        self.lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        self.answers = torch.tensor([row["answer"] for row in rows])
        self.weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
        self.inputs = pad_rows([row["input_ids"] for row in rows], 0).to(device)
        with_choices = sum(row["choice_ids"] is not None for row in rows)
        if 0 < with_choices < len(rows):
            raise ValueError(f"Only {with_choices} of the {len(rows)} examples have answer choices; all or none must.")
        self.choices = Targets.build([row["choice_ids"] for row in rows], device) if with_choices else None
        self.gold = None
        if all(row["gold"] is not None for row in rows):
            self.gold = Targets.build([[row["gold"]] for row in rows], device)
        self.gold_is_choice = bool(with_choices) and all(
            row["answer"] >= 0 and row["gold"] == row["choice_ids"][row["answer"]] for row in rows
        )
        self.fingerprint = examples_fingerprint(rows)

    def require_answers(self, what: str) -> torch.LongTensor:
        """Get the gold choice of every example, `(count,)`. Raises a ValueError where one is unknown."""
        if self.choices is None:
            raise ValueError(
                f"{what} needs answer choices, which these examples do not have (no `choice_ids`): use their gold targets, "
                "as the objective 'loss' does, or generation."
            )
        unknown = (self.answers < 0).nonzero().flatten().tolist()
        if unknown:
            raise ValueError(
                f"{what} needs the answer of every example, but {len(unknown)} of {self.count} have none (first: example "
                f"{unknown[0]}). Give labelled examples, or use the Code Ensemble, which needs none."
            )
        return self.answers

    def require_choices(self) -> Targets:
        """Get the answer choices. Raises a ValueError where there are none."""
        if self.choices is None:
            raise ValueError(
                "These examples have no answer choices (no `choice_ids`): use their gold targets or generation."
            )
        return self.choices

    def require_gold(self) -> Targets:
        """Get the gold targets. Raises a ValueError where one is unknown."""
        if self.gold is None:
            raise ValueError(
                "The gold loss needs every example's target, but some have neither `labels` nor a known `answer`. "
                "Give labelled examples, or use the Code Ensemble, which needs none."
            )
        return self.gold


def _require_known_tokens(rows: Sequence[Mapping[str, Any]], vocab_size: int) -> None:
    """Raise a ValueError where a checked example has a token id outside `[0, vocab_size)`."""
    for number, row in enumerate(rows):
        targets = [] if row["gold"] is None else [row["gold"]]
        for what, sequences in (
            ("an input", [row["input_ids"]]),
            ("an answer choice", row["choice_ids"] or []),
            ("a target", targets),
        ):
            for ids in sequences:
                if min(ids) < 0 or max(ids) >= vocab_size:
                    raise ValueError(
                        f"Example {number} has {what} with the token id {min(ids) if min(ids) < 0 else max(ids)}, but the "
                        f"model's vocabulary goes from 0 to {vocab_size - 1}: use the tokenizer that it was trained with."
                    )


def check_example(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Check an example; get its token ids as lists, its answer, and its gold target (None where it is unknown).

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
