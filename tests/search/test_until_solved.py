import math
import re
from pathlib import Path

import pytest
import torch

from search import OBJECTIVES, CodeScorer, PopulationSearch, search_until_solved, task_code_space
from search import until_solved as module

QUIET = {"progress": False}


def run(model, examples, **settings):
    scorer = CodeScorer(model, examples)
    return scorer, search_until_solved(scorer, task_code_space(model), seed=3, **QUIET, **settings)


def normalized(scorer, trace):
    return OBJECTIVES["normalized_loss"](scorer, torch.tensor([trial.code for trial in trace])).tolist()


def test_a_solved_task_costs_what_it_takes(model, examples):
    scorer, result = run(model, examples, target_loss=100.0)
    assert result.is_solved and len(result.rounds) == 1
    assert result.evaluations == scorer.evaluations == len(model.task_codes())  # the training codes were enough


@pytest.mark.parametrize("hopeless", [0.0, 9.0])
def test_what_is_not_solved_goes_on_or_changes_its_loss(model, examples, monkeypatch, hopeless):
    """No loss is under 0, and none of this model's over 9 times a guess's."""
    monkeypatch.setattr(module, "HOPELESS", hopeless)
    scorer, result = run(model, examples, target_loss=0.0, max_evaluations=60)
    assert not result.is_solved and result.evaluations <= 60
    assert [each.objective for each in result.rounds] == ["normalized_loss", "loss"][: 2 if hopeless == 0 else 1]
    assert len(result.rounds[0].trace) == (30 if hopeless == 0 else result.evaluations)
    losses = [loss for each in result.rounds for loss in normalized(scorer, each.trace)]
    assert result.loss == pytest.approx(min(losses)) == normalized(scorer, [result])[0]
    assert scorer.evaluations == result.evaluations  # what rounds have in common was scored once


def test_going_on_is_one_longer_search(model, examples, monkeypatch):
    monkeypatch.setattr(module, "HOPELESS", 9.0)
    _, result = run(model, examples, target_loss=0.0, max_evaluations=40, population_first_steps=2)
    settings = {"target_loss": 0.0, "max_evaluations": 40, "population_first_steps": 2, "objective": "normalized_loss"}
    plain = PopulationSearch(CodeScorer(model, examples), task_code_space(model), seed=3, **QUIET, **settings).run()
    assert [trial.code for trial in result.rounds[0].trace] == [trial.code for trial in plain.trace]


def test_the_loss_of_a_guess(model, examples):
    scorer = CodeScorer(model, examples)
    counts = [len(row["choice_ids"]) for row in examples]
    expected = sum(math.log(count) for count in counts) / len(counts)
    assert module._compute_loss_of_guess(scorer) == pytest.approx(expected)


def test_it_saves_and_loads(model, examples, tmp_path):
    _, result = run(model, examples, max_evaluations=20)
    result.save(tmp_path / "result.json")
    assert type(result).load(tmp_path / "result.json") == result


def test_what_the_documentation_shows(model, examples, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs/search.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    values = {"scorer": CodeScorer(model, examples), "model": model}
    exec(snippet.replace("seed=0", "seed=0, max_evaluations=12, progress=False"), values)
    found = values["found"]
    assert capsys.readouterr().out == f"{found.code} {found.loss} {found.is_solved} {found.evaluations}\n"


def test_it_needs_answers(model, examples):
    rows = [{k: v for k, v in row.items() if k not in ("choice_ids", "answer")} for row in examples]
    with pytest.raises(ValueError, match="Searching until a task is solved needs answer choices"):
        run(model, rows)
