import json

import pytest

from evaluation.report import Score, accuracy_rows, load_scores, markdown_table, save_scores, write_report


def score(task="rte", method="raw LM", accuracy=0.5, seed=0, template="a", **kwargs) -> Score:
    return Score(task, template, method, accuracy, accuracy, [accuracy, 1 - accuracy], 100, seed, **kwargs)


def test_cells_are_means_over_templates_with_the_deviation_over_seeds():
    scores = [
        score(accuracy=0.4, template="a", seed=0),
        score(accuracy=0.6, template="b", seed=0),  # mean of seed 0: 0.5
        score(accuracy=0.7, template="a", seed=1),
        score(accuracy=0.7, template="b", seed=1),
        score(method="Bitwise Search", accuracy=0.9, seed=0),
        score(task="cb", accuracy=0.3, seed=0),
        score(task="cb", accuracy=0.1, seed=1),
    ]
    assert accuracy_rows(scores) == [
        ["task", "raw LM", "Bitwise Search"],
        ["rte", "60.0 ± 14.1", "90.0"],
        ["cb", "20.0 ± 14.1", "–"],
        ["**mean**", "40.0 ± 0.0", "90.0"],  # seeds: (0.5 + 0.3) / 2 and (0.7 + 0.1) / 2
    ]


def test_reports_hold_what_they_are_given(tmp_path):
    scores = [score(code=[1, 2]), score(method="Bitwise Search", accuracy=0.75, labelled=32, evaluations=250)]
    write_report(scores, tmp_path, {"model": "me/a|b"})
    assert load_scores(tmp_path / "report.json") == (scores, {"model": "me/a|b"})
    text = (tmp_path / "report.md").read_text()
    assert "| rte | 50.0 | 75.0 |" in text
    assert "| rte | a | Bitwise Search | 75.0 | 75.0 | 75 / 25 | 100 | 32 | 0 | 250 | 0.0 |" in text
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_cells_are_escaped():
    assert markdown_table([["a|b"], ["c"]]) == ["| a\\|b |", "|---|", "| c |"]


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"about": {}, "scores": [{"task": "rte"}]})])
def test_what_is_no_report_is_refused_by_name(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=r"report\.json is not a report that run_ctr\.py wrote"):
        load_scores(tmp_path / "report.json")


def test_saved_scores_come_back(tmp_path):
    save_scores([score()], tmp_path / "scores.json", {"seed": 0})
    assert load_scores(tmp_path / "scores.json")[0] == [score()]
