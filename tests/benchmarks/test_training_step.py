"""The benchmark of a training step runs, and counts what it says it counts."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--shape", "tiny", "--batch_size", "2", "--source_length", "6", "--target_length", "4", "--repetitions", "2"]


@pytest.fixture
def training_step(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import training_step

    monkeypatch.setitem(training_step.t5_shapes.SHAPES, "tiny", (32, 8, 64, 2, 4))
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


def count_flops(training_step, decoder_only):
    args = argparse.Namespace(
        shape="tiny", dtype="float32", batch_size=2, source_length=6, target_length=4, decoder_only=decoder_only
    )
    made = [make() for make in training_step.get_variants(args, torch.device("cpu"))]
    for variant in made:
        tokens = variant.batch["input_ids"].shape[1] + variant.prompt_length
        assert tokens == 6 + training_step.CODE_LENGTH + 4 * decoder_only
        assert (variant.batch["labels"] != -100).sum() == 2 * 4
    return {variant.name: variant.count_flops() for variant in made}


def test_all_variants_compute_with_as_many_tokens(training_step):
    flops = count_flops(training_step, decoder_only=False)
    assert flops["CTR stage 2"] == flops["plain T5"]
    assert flops["CTR stage 1"] * 6 == flops["plain T5"] * 4  # no gradients of the weights
    assert flops["peft prompt tuning"] == flops["CTR stage 1"]


def test_all_decoder_only_variants_compute_with_as_many_tokens(training_step):
    flops = count_flops(training_step, decoder_only=True)
    plain = flops["plain LM"]
    per_token = 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128) + 64 * 512  # two layers and the head
    assert plain == pytest.approx(6 * per_token * 2 * 20, rel=0.01)  # norms are counted, too
    for position in ("prefix", "suffix"):
        head = 64 * 512 * 2 * (10 - 5)  # of tokens in front of the answer's
        assert flops[f"CTR stage 2, {position}"] == plain - 6 * head
        assert flops[f"CTR stage 1, {position}"] == flops["peft prompt tuning"] - 4 * head
    assert flops["peft prompt tuning"] * 6 == plain * 4


def test_decoder_only_models_stand_side_by_side_and_in_a_file(training_step, tmp_path, capsys):
    training_step.main([*SMALL, "--decoder_only", "--output", str(tmp_path / "numbers.json")])
    found = json.loads((tmp_path / "numbers.json").read_text())
    names = ["plain LM", *(f"CTR stage {s}, {p}" for s in (2, 1) for p in ("prefix", "suffix")), "peft prompt tuning"]
    assert list(found["variants"]) == names and found["arguments"]["decoder_only"] and "CPU" in found["machine"]
    assert all(each["seconds"] > 0 and each["mfu"] is None for each in found["variants"].values())
    assert found["variants"]["CTR stage 1, suffix"]["memory_ratio"] < 1
    assert "Llama-tiny" in (out := capsys.readouterr().out) and all(f"| {name} |" in out for name in names)
    with pytest.raises(SystemExit):
        training_step.main(["--decoder_only", "--shape", "large"])
