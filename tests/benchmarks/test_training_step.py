"""The benchmark of a training step runs, and counts what it says it counts."""

import argparse
import re
from pathlib import Path

import pytest
import torch

from trainers.throughput import count_batch_flops, count_token_flops

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--shape", "tiny", "--batch_size", "2", "--source_length", "6", "--target_length", "4", "--repetitions", "2"]


@pytest.fixture
def training_step(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import training_step

    monkeypatch.setitem(training_step.SHAPES, "tiny", (32, 8, 64, 2, 4))
    return training_step


def test_prints_every_variant_with_its_utilisation_and_where_the_time_goes(training_step, monkeypatch, capsys):
    monkeypatch.setattr(training_step, "get_peak_flops", lambda device: 1e12)
    training_step.main([*SMALL, "--profile"])
    table, *profiles = capsys.readouterr().out.split("A step of ")
    rows = re.findall(r"^\| (.+?) \| .* \| ([\d.]+) \| ([\d.]+)% \|$", table, re.MULTILINE)
    names = ["plain T5", "CTR stage 2", "CTR stage 1", "peft prompt tuning", "peft multitask prompt tuning"]
    assert [name for name, *_ in rows] == names
    memory = {name: float(ratio) for name, ratio, _ in rows}
    assert memory["CTR stage 1"] < memory["CTR stage 2"] and memory["plain T5"] == 1
    assert all(0 < float(mfu) < 100 for *_, mfu in rows)
    assert [text.split(":")[0] for text in profiles] == names
    assert all("Self CPU time total" in text for text in profiles) and "aten::_fused_adamw_" in profiles[0]


def test_without_a_known_peak_there_is_no_utilisation(training_step, capsys):
    training_step.main(SMALL)
    out = capsys.readouterr().out
    assert "MFU" not in out and "A step of" not in out and "| 1.000 |\n" in out


def test_all_variants_compute_with_as_many_tokens(training_step):
    args = argparse.Namespace(shape="tiny", dtype="float32", batch_size=2, source_length=6, target_length=4)
    flops = {}
    for name, make in training_step.variants(args, torch.device("cpu")):
        variant = make()
        tokens = variant.batch["input_ids"].shape[1] + variant.prompt_length
        assert tokens == 6 + training_step.CODE_LENGTH and variant.batch["labels"].shape == (2, 4)
        flops[name] = count_batch_flops(variant.batch, *count_token_flops(variant.model), variant.prompt_length)
    assert flops["CTR stage 2"] == flops["plain T5"]
    assert flops["CTR stage 1"] * 6 == flops["plain T5"] * 4  # no gradients of the weights
    assert flops["peft prompt tuning"] == flops["CTR stage 1"]
