"""The benchmark of decoder-only models runs, and all its ways compute the same."""

import json
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def numbers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import search_decoder_only

    threads = torch.get_num_threads()
    output = str(tmp_path / "numbers.json")
    small = ["--shape", "tiny", "--num_examples", "3", "--num_codes", "3", "--rounds", "1", "--output", output]
    monkeypatch.setattr("sys.argv", ["search_decoder_only.py", *small])
    search_decoder_only.main()
    yield json.loads(Path(output).read_text())
    torch.set_num_threads(threads)


def test_all_ways_give_the_same_scores(numbers):
    assert numbers["largest_difference"] < 1e-3
    assert all(seconds > 0 for seconds in numbers["seconds_per_code"].values()) and numbers["kept_bytes"] > 0
