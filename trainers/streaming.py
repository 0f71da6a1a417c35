"""Batches from a stream without end, and where in it a checkpoint was made."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import IterableDataset

from trainers.sampler import LengthGroupedBatchOrder

# Examples that a process reads ahead and shuffles.
BUFFER_SIZE = 10_000
POSITION = "stream_position"  # of batches; not an argument of the model


class StreamedBatches(IterableDataset):
    """Make the batches of one process: read a buffer of examples, shuffle it, group it by length, and read the next.

    Every batch says under `stream_position` where the stream stood when its buffer began, and how many batches of the
    buffer are used up with it. From there another one goes on with the very next batch, having read that buffer again.

    Args:
        stream: Endless stream of examples; each process takes its share, whole files where they divide evenly.
        collate: Function that makes a batch of examples.
        batch_size: Number of examples in a batch.
        step_batches: Number of batches of this process per optimizer step.
        seed: Random seed of the shuffling of the buffers.
        process_index, num_processes: This process's number, and how many train together.
        position: `stream_position` of the batch to go on after, or None for the beginning.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        collate: Callable,
        batch_size: int,
        step_batches: int,
        seed: int,
        process_index: int = 0,
        num_processes: int = 1,
        position: str | None = None,
    ):
        self.stream = split_dataset_by_node(stream, process_index, num_processes)
        self.collate = collate
        self.batch_size = batch_size
        self.step_size = batch_size * step_batches
        self.buffer_size = max(BUFFER_SIZE // self.step_size, 1) * self.step_size  # no short batches
        self.seed, self.process_index, self.num_processes = seed, process_index, num_processes
        self.position = position

    def __iter__(self) -> Iterator[dict[str, Any]]:
        start = {"buffer": 0, "batches": 0, "stream": None} if self.position is None else json.loads(self.position)
        number, used, before = start["buffer"], start["batches"], start["stream"]
        if before is not None:
            self.stream.load_state_dict(before)
        rows = iter(self.stream)
        while examples := list(islice(rows, self.buffer_size)):
            stream = json.dumps(before)
            # Other for each process: where they split files, the draws of tasks are the same.
            seed = self.seed + number * self.num_processes + self.process_index
            order = list(LengthGroupedBatchOrder([len(e["input_ids"]) for e in examples], self.step_size, seed))
            batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
            for place in range(used, len(batches)):
                batch = self.collate([examples[i] for i in batches[place]])
                yield {**batch, POSITION: f'{{"buffer": {number}, "batches": {place + 1}, "stream": {stream}}}'}
            number, used, before = number + 1, 0, self.stream.state_dict()


def write_position(position: str, checkpoint: str, process_index: int, num_processes: int) -> None:
    """Keep a process's `stream_position` with a checkpoint."""
    _position_file(checkpoint, process_index, num_processes).write_text(position, encoding="utf-8")


def read_position(checkpoint: str, process_index: int, num_processes: int) -> str:
    """Read what `write_position` kept.

    Raises:
        ValueError: The checkpoint is of another number of processes, or of a run without streaming.
    """
    path = _position_file(checkpoint, process_index, num_processes)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    for other in Path(checkpoint).glob("stream_0_of_*.json"):
        raise ValueError(
            f"The checkpoint '{checkpoint}' is of {other.stem.rpartition('_')[2]} processes, each with its place in "
            f"the stream, which {num_processes} cannot go on from: use as many, or start from its weights with "
            "`--model_name_or_path`."
        )
    raise ValueError(f"The checkpoint '{checkpoint}' is of a run without `--streaming`: go on without it.")


def _position_file(checkpoint: str, process_index: int, num_processes: int) -> Path:
    return Path(checkpoint) / f"stream_{process_index}_of_{num_processes}.json"
