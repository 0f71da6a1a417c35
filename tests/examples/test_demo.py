"""The demo's frame: one bar a step, everything else in the log. `make demo` itself takes minutes, and is not run."""

import ast
import csv
import importlib.util
import sys
from pathlib import Path

import pytest
from tqdm import trange

spec = importlib.util.spec_from_file_location("demo", Path(__file__).resolve().parents[2] / "examples" / "demo.py")
demo = sys.modules["demo"] = importlib.util.module_from_spec(spec)  # by name: results come back from other processes
spec.loader.exec_module(demo)


def count(total: int) -> None:
    print("what a library prints")
    for _ in trange(total, desc="its own bar"):
        pass


def double(folder: Path, name: str) -> str:
    print(f"INFO {name}")
    if name == "bad":
        raise ValueError("this one cannot be done")
    return 2 * name


def test_a_step_shows_one_bar_and_the_log_has_the_rest(tmp_path, capfd):
    steps = demo.Steps(tmp_path / "log.txt")
    steps.follow("1 Counting", 30, count, 30)
    assert steps.share_out("2 Doubling", 2, double, tmp_path, ["a", "b", "c"]) == ["aa", "bb", "cc"]
    out, shown = capfd.readouterr()
    assert out == "" and "library" not in shown and "own bar" not in shown and "INFO" not in shown
    lines = [line.split("\r")[-1] for line in shown.split("\n") if line.strip()]
    assert [line.split("%")[0].split() for line in lines] == [["1", "Counting", "100"], ["2", "Doubling", "100"]]
    log = (tmp_path / "log.txt").read_text()
    assert "what a library prints" in log and "its own bar" in log and "INFO c" in log


def test_a_step_that_fails_says_where_its_output_is(tmp_path):
    steps = demo.Steps(tmp_path / "log.txt")
    with pytest.raises(SystemExit, match=r"this step failed \(this one cannot be done\); all .* is in .*log.txt"):
        steps.share_out("2 Doubling", 1, double, tmp_path, ["a", "bad"])


def test_the_new_tasks_rows(tmp_path):
    demo.write_new_task(tmp_path)
    train, test = (list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("train", "test"))
    assert (len(train), len(test)) == (32, 200)
    words = {"cube": "wuerfel", "ball": "kugel", "cone": "kegel", "ring": "reif"}
    assert sorted(row["label"] for row in train) == sorted(8 * [*words.values()])
    assert all(row["label"] == words[row["text"].split()[4]] for row in train + test)


def test_every_name_that_a_step_imports_is_there(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(demo.__file__).resolve().parents[1] / "benchmarks"))
    found = [node for node in ast.walk(ast.parse(Path(demo.__file__).read_text())) if isinstance(node, ast.ImportFrom)]
    assert "scenes" in {node.module for node in found}
    for node in found:
        module = importlib.import_module(node.module)
        assert [name.name for name in node.names if not hasattr(module, name.name)] == [], node.module
