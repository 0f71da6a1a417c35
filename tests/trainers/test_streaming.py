"""Training on a stream, and going on in the middle of it."""

import json
from itertools import islice

import pytest
import torch
from datasets import interleave_datasets

from trainers import streaming
from trainers.collators import CTRDataCollator
from trainers.streaming import POSITION, StreamedBatches


@pytest.fixture
def stream(mixture):
    """The mixture without end, task by task, in proportions that are not those of their sizes."""
    parts = [mixture.filter(lambda row, t=task: row["task_id"] == t) for task in range(3)]
    streams = [part.to_iterable_dataset(num_shards=2).repeat(None) for part in parts]
    return interleave_datasets(streams, probabilities=[0.5, 0.3, 0.2], seed=0, stopping_strategy="all_exhausted")


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    monkeypatch.setattr(streaming, "BUFFER_SIZE", 50)


def batches(stream, **kwargs):
    return StreamedBatches(stream, CTRDataCollator(0, 3), batch_size=4, step_batches=2, seed=1, **kwargs)


def tensors(found):
    return [{name: value.tolist() for name, value in batch.items() if name != POSITION} for batch in found]


def test_any_batch_can_be_gone_on_from(stream):
    found = list(islice(batches(stream), 60))  # 12 batches a buffer
    assert json.loads(found[29][POSITION])["buffer"] == 2
    for used in (1, 11, 12, 30):
        rest = list(islice(batches(stream, position=found[used - 1][POSITION]), 60 - used))
        assert tensors(rest) == tensors(found[used:])


def test_examples_come_shuffled_by_length_and_in_proportion(stream):
    found = tensors(islice(batches(stream), 600))
    tasks = torch.tensor([task for batch in found for task in batch["task_id"]])
    shares = torch.bincount(tasks) / len(tasks)
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.04)
    padding = 1 - sum(map(sum, (row for b in found for row in b["attention_mask"]))) / sum(
        len(b["attention_mask"]) * len(b["attention_mask"][0]) for b in found
    )
    assert padding < 0.12  # 0.2 in the order of the stream
    assert tensors(islice(batches(stream), 3)) != found[12:15]


def test_processes_share_the_stream(stream):
    shares = [batches(stream, process_index=i, num_processes=2) for i in range(2)]
    firsts = [tensors(islice(share, 24)) for share in shares]
    assert firsts[0] != firsts[1]
    seen = [{tuple(ids) for batch in first for ids in batch["input_ids"]} for first in firsts]
    assert not seen[0] & seen[1]  # whole shards


def test_a_stopped_training_on_a_stream_ends_as_one_that_was_not(build, train, stream, tmp_path):
    settings = {"stage": 2, "max_steps": 12, "save_strategy": "steps", "save_steps": 5, "train_dataset": stream}
    whole, resumed = build(dropout=0.1), build(dropout=0.1)
    train(whole, output_dir=str(tmp_path / "whole"), **settings)
    checkpoint = tmp_path / "whole" / "checkpoint-5"
    trainer = train(resumed, str(checkpoint), output_dir=str(tmp_path / "resumed"), **settings)
    assert trainer.state.global_step == 12
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "message"), [("stream_0_of_2.json", "is of 2 processes, each"), ("other", "without `--streaming`")]
)
def test_checkpoints_of_other_runs_are_refused(tmp_path, name, message):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=message):
        streaming.read_position(str(tmp_path), 0, 1)
