import json
from dataclasses import replace

import pytest

from evaluation.report import (
    Score,
    accuracy_rows,
    cost_rows,
    generation_rows,
    join_reports,
    load_scores,
    markdown_table,
    recorded_rows,
    save_scores,
    spread_rows,
    write_report,
)


def score(task="rte", method="raw LM", accuracy=0.5, seed=0, template="a", **kwargs) -> Score:
    shares = [accuracy, 1 - accuracy]
    return Score(task, template, method, 100, seed, accuracy, accuracy, shares, **kwargs)


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
        ["**mean**", "40.0 ± 0.0", "90.0 (1 of 2 tasks)"],  # seeds: (0.5 + 0.3) / 2 and (0.7 + 0.1) / 2
    ]


def test_what_seeds_are_nothing_to_has_no_deviation():
    scores = [score(task=task, seed=seed, accuracy=0.1) for task in "ab" for seed in (0, 1)]
    scores += [score(task=task, seed=seed, method="LoRA", labelled=32) for task in "ab" for seed in (0, 1)]
    assert [row[1:] for row in accuracy_rows(scores)[1:]] == [["10.0", "50.0 ± 0.0"]] * 3
    one_split = [*scores, score(task="a", seed=2, accuracy=0.4)]  # whose evaluation rows depend on the draw
    assert accuracy_rows(one_split)[1][1] == "20.0 ± 17.3"


def test_reports_hold_what_they_are_given(tmp_path):
    scores = [score(code=[1, 2]), score(method="Bitwise Search", accuracy=0.75, labelled=32, evaluations=250)]
    write_report(scores, tmp_path, {"model": "me/a|b"})
    assert load_scores(tmp_path / "report.json") == (scores, {"model": "me/a|b"})
    text = (tmp_path / "report.md").read_text()
    assert "| rte | 50.0 | 75.0 |" in text
    assert "| rte | a | Bitwise Search | 0 | 75.0 | 75.0 | 75 / 25 | 100 | 32 | 0 | 250 | 0.0 |" in text
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


def test_spread_over_templates_has_quartiles_and_leaves_out_what_has_one_template():
    scores = [
        score(template=name, accuracy=value) for name, value in zip("abcde", (0.1, 0.2, 0.4, 0.8, 1.0), strict=True)
    ]
    scores += [score(method="majority class", template=name) for name in "ab"] + [score(method="Code Ensemble")]
    header, row = spread_rows(scores)
    assert dict(zip(header, row, strict=True)) == {
        "task": "rte", "method": "raw LM", "templates": "5", "mean": "50.0", "lowest": "10.0", "25%": "20.0",
        "median": "40.0", "75%": "80.0", "highest": "100.0",
    }  # fmt: skip


def test_a_choice_of_templates_that_differs_between_seeds_is_no_spread():
    assert spread_rows([score(template="a", seed=0), score(template="b", seed=1), score(template="b", seed=2)]) == []
    assert spread_rows([score(template="a", seed=0), score(template="b", seed=1)]) == []


def test_costs_are_means_and_free_methods_are_left_out():
    scores = [score(), *(score(method="LoRA", seed=i, labelled=32, evaluations=10 * i, seconds=i) for i in (1, 2))]
    assert cost_rows(scores)[1:] == [["LoRA", "32", "0", "15", "1.5"]]


def test_recorded_results_stand_beside_sets_that_have_some():
    assert recorded_rows([score(task="mine")]) == []
    rows = recorded_rows([score(task="super_glue/cb"), score(task="super_glue/rte"), score(task="mine")])
    assert rows[0][1] == "Code Ensemble (authors', T5-large)"
    assert rows[1:] == [
        ["super_glue/cb", "87.5", "60.7", "78.6"],
        ["super_glue/rte", "80.5", "78.6", "81.2"],
        ["**mean**", "84.0", "69.7", "79.9"],
    ]


def test_generated_texts_have_tables_of_their_own(tmp_path):
    texts = {"exact_match": 0.0, "f1": 0.2, "rouge1": 0.4, "rouge2": 0.1, "rougeL": 0.3}
    scores = [score(), Score("samsum", "a", "raw LM", 50, 0, generation=texts)]
    assert accuracy_rows(scores)[1:] == [["rte", "50.0"]]
    assert generation_rows(scores)[1:] == [["samsum", "30.0"]]
    write_report(scores, tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert "| samsum | a | raw LM | 0 | 0.0 | 20.0 | 40.0 | 10.0 | 30.0 | 50 | 0 | 0 | 0.0 |" in text
    assert load_scores(tmp_path / "report.json")[0] == scores
    write_report(scores[1:], tmp_path, {})
    assert "Accuracy" not in (tmp_path / "report.md").read_text()


def test_reports_are_joined(tmp_path):
    majority = score(method="majority class", template="a")
    runs = {
        "ctr": [majority, score(method="LoRA", accuracy=0.6), score(method="Code Ensemble", accuracy=0.7)],
        "t0": [replace(majority, template="b"), score(method="LoRA", accuracy=0.4), score(method="T0", accuracy=0.8)],
        "more": [score(task="cb", method="Code Ensemble", accuracy=0.9)],
    }
    for name, scores in runs.items():
        write_report(scores, tmp_path / name, {"model": name})
    joined = join_reports([tmp_path / name for name in runs], tmp_path / "joined")
    assert load_scores(tmp_path / "joined" / "report.json") == (
        joined, {"ctr": "model ctr", "t0": "model t0", "more": "model more"},
    )  # fmt: skip
    assert [(s.task, s.method, s.accuracy) for s in joined] == [
        ("rte", "majority class", 0.5),
        ("rte", "LoRA (ctr)", 0.6),
        ("rte", "Code Ensemble", 0.7),
        ("rte", "LoRA (t0)", 0.4),
        ("rte", "T0", 0.8),
        ("cb", "Code Ensemble", 0.9),
    ]


def test_joining_what_is_no_run_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"has no report\.json: give output directories of runs with `--do_eval`"):
        join_reports([tmp_path], tmp_path / "out")


def test_a_joined_report_is_not_written_over_one_of_its_parts(tmp_path):
    write_report([score()], tmp_path / "a", {})
    with pytest.raises(ValueError, match="holds one of the reports to be joined: choose another `output_dir`"):
        join_reports([tmp_path / "a"], tmp_path / "a")


def test_runs_whose_directories_have_the_same_name_are_told_apart(tmp_path):
    for parent, accuracy in (("a", 0.1), ("b", 0.2)):
        write_report([score(accuracy=accuracy)], tmp_path / parent / "out", {"model": parent})
    folders = [tmp_path / "a" / "out", tmp_path / "b" / "out", f"{tmp_path}/b/out/"]
    joined = join_reports(folders, tmp_path / "joined")
    assert [s.method for s in joined] == [f"raw LM ({folder})" for folder in folders[:2]]


def test_texts_that_two_runs_generated_differently_are_told_apart(tmp_path):
    for name, value in (("a", 0.1), ("b", 0.2)):
        texts = dict.fromkeys(("exact_match", "f1", "rouge1", "rouge2", "rougeL"), value)
        write_report([Score("samsum", "a", "raw LM", 50, 0, generation=texts)], tmp_path / name, {})
    joined = join_reports([tmp_path / "a", tmp_path / "b"], tmp_path / "joined")
    assert [s.method for s in joined] == ["raw LM (a)", "raw LM (b)"]
