"""The benchmark of serving runs, and all of its ways give the same answers."""

import json
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]


def test_it_runs(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import serving
    import t5_shapes

    monkeypatch.setitem(t5_shapes.SHAPES, "tiny", (64, 16, 128, 1, 4))
    output = tmp_path / "numbers.json"
    flags = ["--shape", "tiny", "--num_texts", "9", "--rounds", "1", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["serving.py", *flags])
    threads = torch.get_num_threads()
    serving.main()
    torch.set_num_threads(threads)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == [
        "| predict_proba", "| exported, transformers", "| exported, CTranslate2 float32", "| exported, CTranslate2 int8"
    ]  # fmt: skip
    assert all(float(row[1]) > 0 for row in rows) and all(float(row[2]) < 1e-3 for row in rows[:3])
    found = json.loads(output.read_text())
    assert [f"| {name}" for name in found["ways"]] == [row[0] for row in rows] and "CPU" in found["machine"]
    assert all(each["seconds_per_text"] > 0 for each in found["ways"].values())
