"""The parts of the benchmark of searches that say what is compared with what."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from search import BitwiseSearchResult, Trial
from search.results import ScoredCode

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def search_quality(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import search_quality

    return search_quality


def test_a_task_that_is_forgotten_leaves_the_others_as_they_were(search_quality):
    text_config = {"model_type": "t5", "vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1}
    config = CTRConfig(text_config=text_config, task_names=["a", "b", "c"], code_length=4, codebook_size=9)
    model = CTRForConditionalGeneration(config)
    codes = model.task_codes()
    search_quality.forget_task(model, "d")
    assert torch.equal(model.task_codes(), codes)
    search_quality.forget_task(model, "b")
    assert torch.equal(model.task_codes(), codes[[0, 2]])
    assert model.task_names == ["a", "c"] and torch.equal(model.get_task_code("c"), codes[2])


def test_the_course_of_a_search(search_quality):
    def evaluation(step, code, value, left=0):
        return Trial(0, step, None, [code], value, None if value else 2.0, left)

    result = BitwiseSearchResult(
        code=[3], loss=1.0, objective="o", evaluations=4, stopped="epochs", starts=[ScoredCode([0], 3.0)],
        best_of_starts=[ScoredCode([3], 1.0)], positions=[[0]], pairs_pruned=16, seed=0, order="gradient",
        trace=[evaluation(-1, 0, 3.0), evaluation(0, 1, None, 16), evaluation(0, 3, 1.0), evaluation(1, 4, 2.0)],
    )  # fmt: skip
    # A pruned code counts as far as it went; a backward pass, at the start and after an improvement, as three.
    expected = [(1, 3.0, [0]), (4.5, 3.0, [0]), (5.5, 1.0, [3]), (9.5, 1.0, [3])]
    assert search_quality.course(result) == expected


def test_rows_of_other_flags_or_another_model_are_not_taken_for_this_runs(search_quality, monkeypatch, tmp_path):
    models = {name: torch.nn.Linear(2, 2) for name in ("a", "b")}
    monkeypatch.setattr(search_quality.CTRForConditionalGeneration, "from_pretrained", models.get)
    monkeypatch.setattr(search_quality, "report", lambda rows, budgets: f"{len(rows)} rows")
    task = SimpleNamespace(name="t")
    cases = [search_quality.Case(seed, task, "a", "a", 8, 8) for seed in (0, 1)]
    monkeypatch.setattr(search_quality, "given_cases", lambda args: cases)
    measured = []
    monkeypatch.setattr(search_quality, "measured", lambda case, *others: measured.append(case.seed) or {})

    def run(*flags):
        words = ["--model_name_or_path", "a", "--output_dir", str(tmp_path), *flags]
        monkeypatch.setattr("sys.argv", ["search_quality.py", *words])
        search_quality.main()

    run()
    run("--tasks", "t", "--seeds", "0", "1")
    assert measured == [0, 1]
    with pytest.raises(
        SystemExit, match=r"holds rows with budgets \[100, 200, 400, 600\], not \[50\]: choose another"
    ):
        run("--budgets", "50")
    models["a"] = models["b"]
    with pytest.raises(SystemExit, match="holds t, seed 0, of another model"):
        run()


def test_every_row_of_a_table_has_its_columns(search_quality):
    def of_search(seconds):
        course = {"at_budgets": [[50, 1.0, 0.5], [100, 0.5, 0.6]], "cost_of_default": 80, "total_cost": 100}
        return course | {"cpu_seconds": seconds, "normalized_loss": 0.5}

    searches = {search_quality.DEFAULT: of_search(3.0), "bitwise, paper's loss": of_search(None)}
    row = {"searches": searches, "others": {"training code by loss": 0.4}, "start_loss": 1.0, "cpu_seconds": 9.0}
    rows = [{"seed": seed, "task": task, **row} for seed in (0, 1) for task in ("a", "b")]
    tables = [block.splitlines() for block in search_quality.report(rows, [50, 100]).split("\n\n")[1:]]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table
