"""Several processes find what one finds, decision by decision. The processes are real ones, on the CPU, with gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import CodeEnsembleResult, CodeSearchResult, PromptTuningResult, TaskCodeSearchResult
from search.scoring import processes as several

TESTS = Path(__file__).parents[1]
SEARCHES = ("plain", "pruned", "loss", "gradient", "population")


def launch(processes: int, folder: Path) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        + [str(TESTS / "search_process.py"), str(folder)],
        env=os.environ | {"PYTHONPATH": str(TESTS.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    """What one process and what two leave behind."""
    folders = {count: tmp_path_factory.mktemp(f"of_{count}") for count in (1, 2)}
    for count, folder in folders.items():
        done = launch(count, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folders


def of_ranks(folder: Path, count: int) -> list[dict]:
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.slow
def test_scores_are_those_of_one_process_and_the_same_in_both(runs):
    (one,), (first, second) = of_ranks(runs[1], 1), of_ranks(runs[2], 2)
    assert (one.pop("processes"), first.pop("processes"), second.pop("processes")) == (1, 2, 2)
    assert first == second
    assert first["generated"] == one["generated"] and first["pairs"] == one["pairs"]
    for name in ("gold", "raw"):
        assert first[name] == pytest.approx(one[name], rel=1e-5)
    for vector, expected in zip(first["tuned"], one["tuned"], strict=True):
        assert vector == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_searches_decide_as_one_process(runs, name):
    one, two = (CodeSearchResult.load(runs[count] / f"{name}.json") for count in (1, 2))
    assert (two.code, two.stopped) == (one.code, one.stopped)
    assert getattr(two, "positions", None) == getattr(one, "positions", None)  # a population has none
    assert two.loss == pytest.approx(one.loss, rel=1e-6)
    assert [(e.start, e.step, e.position, e.code, e.examples_left) for e in two.trace] == [
        (e.start, e.step, e.position, e.code, e.examples_left) for e in one.trace
    ]
    assert [t.code for t in two.get_top()] == [t.code for t in one.get_top()]
    if name == "pruned":
        assert one.pairs_pruned > 0
    lines = [(runs[count] / f"{name}.jsonl").read_text().splitlines() for count in (1, 2)]
    assert lines[1][0] == lines[0][0]  # the same header: one process can go on where two were stopped
    assert [json.loads(line)["code"] for line in lines[1][1:]] == [e.code for e in one.trace]


@pytest.mark.slow
def test_the_other_searches_decide_as_one_process(runs):
    for name, kind in [("training_code", TaskCodeSearchResult), ("ensemble", CodeEnsembleResult)]:
        one, two = (kind.load(runs[count] / f"{name}.json") for count in (1, 2))
        assert two.code == one.code and two.task_name == one.task_name
    assert two.pseudo_labels == one.pseudo_labels and two.members == one.members
    one, two = (PromptTuningResult.load(runs[count] / "tuned.json") for count in (1, 2))
    assert (two.step, two.held_back) == (one.step, one.held_back)
    assert two.losses == pytest.approx(one.losses, rel=1e-5)


@pytest.mark.slow
def test_one_goes_on_where_two_were_killed_and_the_other_way_round(runs, tmp_path):
    for before, after in ((1, 2), (2, 1)):
        folder = tmp_path / f"{before}_{after}"
        folder.mkdir()
        for name in SEARCHES:
            content = (runs[before] / f"{name}.jsonl").read_bytes()
            (folder / f"{name}.jsonl").write_bytes(content[: len(content) // 2])
        done = launch(after, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in SEARCHES:
            found, expected = (CodeSearchResult.load(path / f"{name}.json") for path in (folder, runs[1]))
            assert found.code == expected.code and [e.code for e in found.trace] == [e.code for e in expected.trace]


@pytest.mark.slow
def test_an_error_of_the_main_process_ends_all(runs, tmp_path):
    (tmp_path / "plain.jsonl").write_text("notes\n")
    done = launch(2, tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("is no search trace") >= 2


def test_one_process_needs_none_of_it():
    assert several.num_processes() == 1 and several.is_main_process()
    assert [5, 6, 7][several.own_share()] == [5, 6, 7]
    assert several.on_main_process(lambda: 3) == 3 and several.join_lists([1]) == [1]
    with pytest.raises(KeyError):
        several.on_main_process(lambda: {}["x"])
