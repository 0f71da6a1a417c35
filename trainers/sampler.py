"""The order of training examples: random, but examples of like length side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch.utils.data import Sampler


def count_tokens(dataset: Dataset | Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    """Count the elements of the lists in a column, `(num_rows,)`, integers; of a `Dataset` only their offsets are read."""
    if not isinstance(dataset, Dataset):
        return np.array([len(dataset[i][column]) for i in range(len(dataset))])
    tables = dataset.select_columns(column).with_format("arrow").iter(batch_size=10_000)
    return np.concatenate([pc.list_value_length(table[column]).to_numpy() for table in tables])


class LengthGroupedBatchOrder(Sampler[int]):
    """Shuffle all examples, sort chunks of 50 batches by length, then shuffle the batches of each chunk.

    The order depends on the seed, the epoch and the *global* batch size only, so that any split of a global batch into
    processes and accumulation steps sees the same batches, and a resumed run the same ones as an uninterrupted run.

    Args:
        lengths: Number of tokens of each example.
        batch_size: Examples per optimizer step, over all processes and accumulation steps.
        seed: Random seed of the shuffling, together with the epoch (`set_epoch`).
    """

    BATCHES_PER_CHUNK = 50

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int):
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        for chunk in order.split(self.BATCHES_PER_CHUNK * self.batch_size):
            batches = chunk[self.lengths[chunk].argsort(stable=True)].split(self.batch_size)
            # The one short batch, if any, stays last, as samplers have it.
            num_full = len(chunk) // self.batch_size
            for i in torch.randperm(num_full, generator=generator).tolist() + list(range(num_full, len(batches))):
                yield from batches[i].tolist()


class TokenBudgetBatches(Sampler[list[int]]):
    """Make batches with as many examples as fit in a budget of tokens, padding included.

    Examples lie in bins by the lengths of their sources and of their targets. Each epoch shuffles the bins within
    themselves, cuts the row of all bins into the batches of optimizer steps, and shuffles these: a batch is a random
    choice among examples of its lengths, and every step may get any batch, so that tasks come in proportion in
    expectation. Bins are 8 tokens wide, or as wide as it takes to fill five batches, which differ from epoch to
    epoch. Where the cuts are depends on the lengths alone, so all epochs have as many batches.

    The examples of a step are the same for any `parts` that divides 8 and any `tokens` with the same product, where they
    are at least 8. They are split evenly; for that, the last batch of the row may repeat up to `parts - 1` examples.

    Args:
        sources, targets: Number of source and of target tokens of each example, `(num_examples,)`.
        tokens: Largest number of source and target tokens in a batch.
        parts: Number of batches in an optimizer step, processes x accumulation steps; they follow each other.
        seed: Random seed of the shuffling, together with the epoch (`set_epoch`).

    Raises:
        ValueError: The longest source and the longest target have no room in a batch.
    """

    BIN_WIDTH, BATCHES_PER_BIN = 8, 5
    # Equal parts on 1, 2, 4 and 8 devices, and shapes that tensor cores like.
    MULTIPLE = 8

    def __init__(self, sources: np.ndarray, targets: np.ndarray, tokens: int, parts: int, seed: int):
        longest = int(sources.max() + targets.max())
        if longest > tokens:
            raise ValueError(
                f"A batch of {tokens} tokens has no room for the longest source and the longest target, {longest} tokens "
                "together: raise the budget, or cut the examples."
            )
        self.parts = parts
        self.seed = seed
        self.epoch = 0
        lengths = np.stack([sources, targets], axis=1)  # (num_examples, 2)
        bins = self._bins(lengths, tokens * parts)
        self.bins = torch.as_tensor(bins)
        self.ends = self._batch_ends(lengths, bins, tokens * parts)

    def _bins(self, lengths: np.ndarray, tokens: int) -> np.ndarray:
        """Return the bin of each example, `(num_examples,)`, from 0: by source, then by target."""
        sources, targets = (-(-lengths // self.BIN_WIDTH)).astype(np.int64).T
        _, cells = np.unique(sources * (targets.max() + 1) + targets, return_inverse=True)
        filled = np.bincount(cells, lengths.sum(1)).cumsum()
        # A cell goes with the one before it until these fill enough batches.
        return np.unique(((filled - filled[0]) // (tokens * self.BATCHES_PER_BIN))[cells], return_inverse=True)[1]

    def _batch_ends(self, lengths: np.ndarray, bins: np.ndarray, tokens: int) -> list[int]:
        """Return where to cut the row of all bins, so that no batch has over `tokens` tokens whatever the order in the bins."""
        order = bins.argsort(kind="stable")
        starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
        longest = np.maximum.reduceat(lengths[order], starts)[bins[order]]  # of each example's bin
        multiple = math.lcm(self.MULTIPLE, self.parts)
        longest = np.pad(longest, ((0, -len(bins) % multiple), (0, 0)), mode="edge")
        ends = [0]
        while ends[-1] < len(longest):
            window = longest[ends[-1] : ends[-1] + tokens // longest[ends[-1]].sum()]
            padded = np.maximum.accumulate(window).sum(1) * np.arange(1, len(window) + 1)
            room = int((padded <= tokens).sum())
            ends.append(ends[-1] + (room // multiple * multiple or room // self.parts * self.parts))
        return np.unique(np.minimum(ends[1:], len(bins) + -len(bins) % self.parts)).tolist()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ends) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.bins), generator=generator)
        order = order[self.bins[order].argsort(stable=True)]
        order = torch.cat([order, order[: -len(order) % self.parts]])
        batches = order.tensor_split(self.ends[:-1])
        for i in torch.randperm(len(batches), generator=generator).tolist():
            for part in range(self.parts):
                yield batches[i][part :: self.parts].tolist()
