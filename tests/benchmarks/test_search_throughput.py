"""The benchmark of codes per second runs, and both sides of its comparisons compute the same."""

import json
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--shape", "tiny", "--num_examples", "3", "--num_codes", "4", "--num_original_codes", "1", "--rounds", "1"]


@pytest.fixture
def numbers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import search_throughput

    threads = torch.get_num_threads()

    def run(*flags):
        output = str(tmp_path / "numbers.json")
        monkeypatch.setattr("sys.argv", ["search_throughput.py", *SMALL, *flags, "--output", output])
        search_throughput.main()
        return json.loads(Path(output).read_text())

    yield run
    torch.set_num_threads(threads)


def test_all_ways_give_the_same_losses(numbers):
    found = numbers("--parts", "throughput", "autocast")
    assert found["throughput"]["largest_difference_of_losses_a_b"] < 1e-2
    assert all(seconds > 0 for seconds in found["throughput"]["seconds_per_code"].values())
    assert 0 < found["autocast"]["largest_difference"] < found["autocast"]["spread_of_losses"]


def test_a_search_with_and_without_pruning(numbers):
    found = numbers("--parts", "pruning", "--search_evaluations", "12", "--objectives", "normalized_loss", "loss")
    assert set(found["pruning"]) == {"normalized_loss", "loss"}
    assert all(
        len(each["plain"]) == len(each["pruned"]) == 1 and each["same_result"] for each in found["pruning"].values()
    )
