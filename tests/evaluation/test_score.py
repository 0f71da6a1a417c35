import json

import pytest

from evaluation.score import load_scores, save_scores

WRONG_TYPE = json.dumps(
    {"about": {}, "scores": [{"task": "a", "template": "b", "method": "c", "num_examples": 9, "seed": 0,
                              "accuracy": "x", "macro_f1": 0.5, "predicted_shares": [1.0]}]}
)  # fmt: skip


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"about": {}, "scores": [{"task": "rte"}]}), WRONG_TYPE])
def test_what_is_no_report_is_refused_by_name(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=r"report\.json is not a report that run_ctr\.py wrote"):
        load_scores(tmp_path / "report.json")


def test_saved_scores_come_back(score, tmp_path):
    save_scores([score()], tmp_path / "scores.json", {"seed": 0})
    assert load_scores(tmp_path / "scores.json")[0] == [score()]
