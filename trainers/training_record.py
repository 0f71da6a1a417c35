"""What a training was given, kept with its checkpoints, so that it does not go on with something else unnoticed."""

import copy
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch.utils.data import IterableDataset
from transformers.trainer_utils import has_length

from safe_files import write_json
from trainers.training_args import CTRTrainingArguments

RECORD_NAME = "training_record.json"
COLUMNS = ("input_ids", "labels", "task_id")
# Of a stream, and of a data set that is no `datasets.Dataset`, only some rows are looked at.
STREAM_ROWS, SAMPLED_ROWS = 1_000, 64


@dataclass(frozen=True)
class TrainingRecord:
    """Say what a training was given.

    Args:
        max_steps, num_train_epochs: Its length, as the arguments say it.
        examples_per_step: Examples of an optimizer step over all processes; None where steps are counted in tokens.
        tokens_per_step: Tokens of an optimizer step at most, likewise; None where they are counted in examples.
        num_examples: Rows of the training set; None for a stream.
        data: Digest of the training set; None where its rows cannot be looked at without using them up.
    """

    max_steps: int
    num_train_epochs: float
    examples_per_step: int | None
    tokens_per_step: int | None
    num_examples: int | None
    data: str | None

    def write(self, folder: str | Path) -> None:
        """Write it into a checkpoint or an output folder."""
        write_json(Path(folder) / RECORD_NAME, asdict(self))


def get_training_record(args: CTRTrainingArguments, dataset: Any) -> TrainingRecord:
    """Take down the arguments and the training set of a run."""
    parts = args.gradient_accumulation_steps * args.world_size
    tokens = args.per_device_train_tokens
    return TrainingRecord(
        max_steps=args.max_steps,
        num_train_epochs=args.num_train_epochs,
        examples_per_step=args.train_batch_size * parts if tokens is None else None,
        tokens_per_step=None if tokens is None else tokens * parts,
        num_examples=len(dataset) if has_length(dataset) else None,
        data=compute_data_digest(dataset),
    )


def read_record(folder: str | Path) -> TrainingRecord | None:
    """Read what [`TrainingRecord.write`] wrote; None where there is none, as in folders of earlier versions."""
    try:
        return TrainingRecord(**json.loads((Path(folder) / RECORD_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def check_record(folder: str | Path, now: TrainingRecord, *, any_data: bool = False, any_step: bool = False) -> None:
    """Compare the record in a checkpoint or an output folder with that of the run which goes on from there.

    Args:
        any_data: Whether to leave out the comparison of the data.
        any_step: Whether to leave out that of a step's size.

    Raises:
        ValueError: The data changed, or a step has another number of examples or tokens.
    """
    before = read_record(folder)
    if before is None:
        return
    then, given = _step_size(before), _step_size(now)
    if then != given and not any_step:
        raise ValueError(
            f"A step of the training in '{folder}' has {then}, not {given}: give a batch size and accumulation steps that, "
            "times the number of processes, come to that, or start a new run from its weights."
        )
    if not any_data and None not in (before.data, now.data) and before.data != now.data:
        sizes = (
            f"{before.num_examples} examples then, {now.num_examples} now"
            if before.num_examples != now.num_examples
            else "as many examples, but not the same"
        )
        raise ValueError(
            f"The training data is not that of the training in '{folder}' any more ({sizes}): put it back, or train on "
            "the new data in another output folder."
        )


def is_made_longer(output_dir: str | Path, now: TrainingRecord) -> bool:
    """Tell whether a training that is finished in `output_dir` is asked to have more steps or epochs than it had.

    Raises:
        ValueError: It is asked to have fewer, or is measured in the other of the two.
    """
    before = read_record(output_dir)
    if before is None:  # of an earlier version
        return now.max_steps > read_step(output_dir) > 0
    (then, unit), (given, unit_now) = _length(before), _length(now)
    if given < then or unit != unit_now:
        raise ValueError(
            f"'{output_dir}' holds a finished training of {then:g} {unit}, which cannot become one of {given:g} "
            f"{unit_now}: it can only be made longer. Choose another `output_dir`."
        )
    return given > then


def read_step(checkpoint: str | Path) -> int:
    """Read the optimizer step that a checkpoint was written after; 0 where it does not say."""
    try:
        state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
        return int(state["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def compute_data_digest(dataset: Any) -> str | None:
    """Compute a digest of a training set: of all its tokens, in order, where it is a `datasets.Dataset`.

    Of other data sets with a length, 64 rows are read; of a stream of `datasets`, the first 1,000 examples. None for
    other streams, since reading from them could use them up.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(dataset, datasets.Dataset) and set(dataset.column_names) >= {"input_ids"}:
        columns = [name for name in COLUMNS if name in dataset.column_names]
        for table in dataset.select_columns(columns).with_format("arrow").iter(batch_size=10_000):
            for name in columns:
                _add_column(digest, table[name].combine_chunks())
    elif isinstance(dataset, datasets.IterableDataset):
        _add_rows(digest, islice(copy.deepcopy(dataset), STREAM_ROWS))  # a copy, as reading leaves traces in it
    elif has_length(dataset) and not isinstance(dataset, IterableDataset):
        size = len(dataset)
        rows = range(0, size, max(math.ceil(size / SAMPLED_ROWS), 1))
        digest.update(str(size).encode())
        _add_rows(digest, (dataset[i] for i in rows))
    else:
        return None
    return digest.hexdigest()


def _add_column(digest: Any, column: pa.Array) -> None:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        digest.update(pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int32).tobytes())
        column = pc.list_flatten(column)
    digest.update(column.to_numpy(zero_copy_only=False).astype(np.int32).tobytes())


def _add_rows(digest: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        for name in COLUMNS:
            if name in row:
                values = np.asarray(row[name], dtype=np.int32)
                digest.update(f"{values.size} ".encode() + values.tobytes())


def _length(record: TrainingRecord) -> tuple[float, str]:
    return (record.max_steps, "steps") if record.max_steps > 0 else (record.num_train_epochs, "epochs")


def _step_size(record: TrainingRecord) -> str:
    if record.tokens_per_step is not None:
        return f"at most {record.tokens_per_step} tokens"
    return f"{record.examples_per_step} examples"
