from dataclasses import replace

import pytest

from evaluation.joining import join_reports
from evaluation.report import write_report
from evaluation.score import Score, load_scores


def test_reports_are_joined(score, tmp_path):
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


def test_a_joined_report_is_not_written_over_one_of_its_parts(score, tmp_path):
    write_report([score()], tmp_path / "a", {})
    with pytest.raises(ValueError, match="holds one of the reports to be joined: choose another `output_dir`"):
        join_reports([tmp_path / "a"], tmp_path / "a")


def test_runs_whose_directories_have_the_same_name_are_told_apart(score, tmp_path):
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
