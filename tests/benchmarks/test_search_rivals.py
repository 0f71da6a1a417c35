"""The benchmark of rival optimizers counts for all of them alike."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def search_rivals(monkeypatch):
    pytest.importorskip("optuna", reason="optuna is an extra for this benchmark alone")
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import search_rivals

    return search_rivals


@pytest.mark.parametrize("name", ["TPE", "genetic (NSGA-II)"])
def test_rivals_begin_with_the_training_codes_and_end_at_the_budget(search_rivals, monkeypatch, name):
    starts = [[0, 0, 0, 0], [1, 2, 0, 1], [2, 1, 2, 2]]
    model = SimpleNamespace(task_codes=lambda: torch.tensor(starts))
    monkeypatch.setattr(search_rivals, "task_code_space", lambda model: [[0, 1, 2]] * 4)
    scored = []

    def count_wrong(scorer, codes):
        scored.extend(codes.tolist())
        return (codes != torch.tensor([2, 2, 1, 0])).double().sum(1)

    monkeypatch.setitem(search_rivals.OBJECTIVES, "normalized_loss", count_wrong)
    course = search_rivals.run_method(name, SimpleNamespace(model=model), budget=20, seed=1)
    assert scored[:3] == starts and [count for count, *_ in course] == list(range(1, 21))
    distinct = list(dict.fromkeys(map(tuple, scored)))
    for count, loss, code in course:  # the least so far, and its code
        wrong = [sum(a != b for a, b in zip(each, (2, 2, 1, 0), strict=True)) for each in distinct[:count]]
        assert loss == min(wrong) and tuple(code) == distinct[wrong.index(loss)]


def test_report_is_by_seed(search_rivals):
    def row(seed, *ends):
        found = [{"at_budgets": [[0.5, 0.25], [0.2, 0.5]], "end": [0.1, end], "evaluations": 9} for end in ends]
        return {"seed": seed, **dict(zip(("bitwise", "TPE"), found, strict=True))}

    lines = search_rivals.make_report(
        [row(1, 0.5, 1.0), row(1, 0.7, 0.7), row(2, 0.9, 0.79)], ["bitwise", "TPE"], [5, 9]
    )
    bitwise, tpe = lines.splitlines()[-2:]
    assert bitwise == "| bitwise | 25.0 ± 0.0 | 50.0 ± 0.0 | 75.0 ± 21.2 | 50.0 | 2 | 0.100 | 0 / 0 | 9 |"
    assert tpe == "| TPE | 25.0 ± 0.0 | 50.0 ± 0.0 | 82.0 ± 4.2 | 70.0 | 2 | 0.100 | 1 / 1 | 9 |"
