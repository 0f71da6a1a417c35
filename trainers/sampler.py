"""The order of training examples: random, but examples of like length side by side."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class LengthGroupedBatchOrder(Sampler[int]):
    """Shuffles all examples, sorts chunks of 50 batches by length, then shuffles the batches of each chunk.

    The order depends on the seed, the epoch and the *global* batch size only, so that any split of a global batch into
    processes and accumulation steps sees the same batches, and a resumed run the same ones as an uninterrupted run.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples per optimiser step, over all processes and accumulation steps.
        seed: Seeds the shuffling, together with the epoch (`set_epoch`).
    """

    BATCHES_PER_CHUNK = 50

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
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
