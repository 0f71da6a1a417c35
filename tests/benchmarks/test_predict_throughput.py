"""The benchmark of predictions runs, and both of its ways compute the same."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import predict_throughput
    import t5_shapes

    tiny = (64, 16, 128, 1, 4)
    monkeypatch.setitem(t5_shapes.SHAPES, "tiny", tiny)
    threads = torch.get_num_threads()
    yield predict_throughput
    torch.set_num_threads(threads)


def test_the_bare_passes_are_those_of_the_predictions(benchmark):
    solver = benchmark.make_solver(Namespace(shape="tiny", device="cpu", dtype="float32"))
    texts = benchmark.make_texts(12)
    bare = torch.cat(benchmark.run_bare(solver, benchmark.bare_batches(solver, texts, 512))).softmax(1).numpy()
    order = sorted(range(12), key=lambda i: -len(solver.tokenizer(texts[i]).input_ids))
    found = solver.predict_proba(texts, benchmark.TASK, progress=False)[order]
    np.testing.assert_allclose(found, bare, atol=1e-5)


def test_it_runs(benchmark, monkeypatch, tmp_path, capsys):
    flags = [
        "--shape",
        "tiny",
        "--num_texts",
        "4",
        "--num_loop_texts",
        "2",
        "--rounds",
        "1",
        "--token_budgets",
        "2048",
    ]
    monkeypatch.setattr("sys.argv", ["predict_throughput.py", *flags, "--output", str(tmp_path / "numbers.json")])
    benchmark.main()
    assert json.loads((tmp_path / "numbers.json").read_text())["ratio"] > 0
    assert "| predict |" in capsys.readouterr().out
