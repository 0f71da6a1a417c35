"""What is scored: the targets that examples ask for, each of them once."""

from dataclasses import dataclass

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
        """Make targets of each example's token sequences; those that an example repeats are scored once."""
        rows: dict[tuple[int, ...], int] = {}
        of_example, slots = [], []
        for example in sequences:
            ids = [rows.setdefault(tuple(sequence), len(rows)) for sequence in example]
            distinct = list(dict.fromkeys(ids))
            of_example.append(distinct)
            slots.append([distinct.index(i) for i in ids])
        return cls(
            tokens=pad_rows([list(row) for row in rows], 0).to(device),
            lengths=torch.tensor([len(row) for row in rows]),
            of_example=of_example,
            slots=pad_rows(slots, -1),
        )

    def get_rows(self, example_ids: torch.LongTensor) -> tuple[torch.LongTensor, torch.LongTensor, torch.LongTensor]:
        """Get what is to be scored for pairs of a prompt and an example, one row for each target of each pair.

        Args:
            example_ids: `(pairs,)`: each pair's example.

        Returns:
            `(rows,)` each: number of the pair, slot of the target among the example's, row of the target in `tokens`.
        """
        asked = [self.of_example[example] for example in example_ids.tolist()]
        pair = torch.tensor([i for i, of_pair in enumerate(asked) for _ in of_pair])
        slot = torch.tensor([j for of_pair in asked for j in range(len(of_pair))])
        target = torch.tensor([t for of_pair in asked for t in of_pair])
        return pair, slot, target


def pad_rows(rows: list[list[int]], value: int) -> torch.LongTensor:
    """Pad rows at the end, `(num_rows, longest)`."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
