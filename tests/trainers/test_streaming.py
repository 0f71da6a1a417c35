"""Training on a stream, and going on in the middle of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from datasets import Dataset, interleave_datasets
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration

from trainers import streaming
from trainers.collators import CTRDataCollator
from trainers.streaming import POSITION, StreamedBatches

REPOSITORY = Path(__file__).resolve().parents[2]


def endless(mixture, files):
    """The mixture without end, task by task, in proportions that are not those of their sizes."""
    parts = [mixture.filter(lambda row, t=task: row["task_id"] == t) for task in range(3)]
    streams = [part.to_iterable_dataset(num_shards=files).repeat(None) for part in parts]
    return interleave_datasets(streams, probabilities=[0.5, 0.3, 0.2], seed=0, stopping_strategy="all_exhausted")


@pytest.fixture
def stream(mixture):
    return endless(mixture, files=2)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    monkeypatch.setattr(streaming, "BUFFER_SIZE", 50)


def batches(stream, **kwargs):
    return StreamedBatches(stream, CTRDataCollator(0, 3), batch_size=4, step_batches=2, seed=1, **kwargs)


def tensors(found):
    return [{name: value.tolist() for name, value in batch.items() if name != POSITION} for batch in found]


@pytest.mark.parametrize("files, processes", [(2, 1), (2, 2), (3, 2)])
def test_any_batch_can_be_gone_on_from(mixture, files, processes):
    stream, last = endless(mixture, files), {"process_index": processes - 1, "num_processes": processes}
    found = list(islice(batches(stream, **last), 60))  # 12 batches a buffer
    assert json.loads(found[29][POSITION])["buffer"] == 2
    for used in (1, 11, 12, 30):
        rest = list(islice(batches(stream, position=found[used - 1][POSITION], **last), 60 - used))
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


@pytest.mark.parametrize("files", [2, 3])
def test_two_processes_see_every_example_once_a_pass(files):
    """12 batches a buffer: after 24 each process has used up the first 96 examples of its share."""
    rows = [
        Dataset.from_list([{"input_ids": [10 * task + i], "labels": [1], "task_id": task} for i in range(6)])
        for task in range(2)
    ]
    streams = [part.to_iterable_dataset(num_shards=files).repeat(None) for part in rows]
    stream = interleave_datasets(streams, probabilities=[0.7, 0.3], seed=0, stopping_strategy="all_exhausted")

    def seen(number, **share):
        return Counter(
            row[0] for batch in tensors(islice(batches(stream, **share), number)) for row in batch["input_ids"]
        )

    shares = [seen(24, process_index=i, num_processes=2) for i in range(2)]
    together = shares[0] + shares[1]
    assert together.total() == 192 and len(together) == 12
    for counts in [[together[10 * task + i] for i in range(6)] for task in range(2)]:
        assert max(counts) - min(counts) <= 1, counts  # none comes again before all have come
    if files == 2:
        assert not set(shares[0]) & set(shares[1])
    else:
        assert together == seen(48)  # what one process sees


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


TEMPLATE = """
dataset: {name}
data: {{data_files: {{train: "{name}_train_*.jsonl", validation: {name}_train_0.jsonl}}}}
templates:
  plain: {{answer_choices: "w10 ||| w11", jinja: "{{{{text}}}} ||| {{{{answer_choices[label]}}}}"}}
"""
# As the command line starts it, but with buffers that end within the run, and with time to interfere.
START = """
import sys
import time
from transformers import TrainerCallback
import run_ctr
from command_line import training
from trainers import streaming
streaming.BUFFER_SIZE = 64
class Slow(TrainerCallback):
    def on_step_end(self, *args, **kwargs):
        time.sleep(0.05)
class Trainer(training.CTRTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, callbacks=[Slow()], **kwargs)
training.CTRTrainer = Trainer
for output_dir in sys.argv[1].split(","):
    run_ctr.main([*sys.argv[2:], "--output_dir", output_dir])
"""


@pytest.mark.slow
@pytest.mark.parametrize("files", [2, 3])
def test_two_processes_stopped_on_a_stream_end_as_two_that_were_not(tmp_path, tiny_t5_config, tiny_tokenizer, files):
    T5ForConditionalGeneration(tiny_t5_config(dropout_rate=0.1)).save_pretrained(tmp_path / "lm")
    tiny_tokenizer.save_pretrained(tmp_path / "lm")
    for name in ("colours", "shapes"):
        (tmp_path / f"{name}.yaml").write_text(TEMPLATE.format(name=name))
        for file in range(files):
            rows = [{"text": " ".join(["w30", "w31"] * (1 + i % 3)), "label": i % 2} for i in range(10)]
            (tmp_path / f"{name}_train_{file}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "start.py").write_text(START)

    def start(*output_dirs: Path) -> subprocess.Popen:
        flags = {
            "model_name_or_path": tmp_path / "lm",
            "templates_dir": tmp_path,
            "streaming": True,
            "do_train": True,
            "stage": 2,
            "max_steps": 40,
            "save_steps": 10,
            "code_length": 4,
            "codebook_size": 16,
            "per_device_train_batch_size": 4,
            "report_to": "none",
        }
        words = [str(word) for flag in flags.items() for word in (f"--{flag[0]}", flag[1])]
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
            + [
                str(tmp_path / "start.py"),
                ",".join(map(str, output_dirs)),
                "--train_tasks",
                "colours",
                "shapes",
                *words,
            ],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE,
            text=True,
        )

    whole, out = tmp_path / "whole", tmp_path / "out"
    process = start(whole, out)
    while not (out / "checkpoint-20" / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=600)
    assert process.returncode and "SIGTERM received: saving after step" in errors
    stopped_at = int(errors.split("saving after step ")[1].split(",")[0])
    assert 20 <= stopped_at < 40 and not (out / "model.safetensors").exists()
    position = json.loads((whole / "checkpoint-40" / "stream_1_of_2.json").read_text())
    assert position["buffer"] == 2  # 16 batches a buffer

    process = start(out)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and f"goes on from '{out}/checkpoint-{stopped_at}'" in errors
    ended, expected = (load_file(run / "model.safetensors") for run in (out, whole))
    assert all(torch.equal(ended[name], weight) for name, weight in expected.items())
