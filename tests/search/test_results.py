import json

import pytest

from search import (
    BitwiseSearchResult,
    CodeEnsembleResult,
    CodeSearchResult,
    PopulationSearchResult,
    TaskCodeSearchResult,
)
from search.code_ensemble import EnsembleMember
from search.results import ScoredCode
from search.task_code_search import TaskCodeRow
from search.trials import Trial

RESULTS = [
    BitwiseSearchResult(
        code=[1, 2], loss=0.1 + 0.2, objective="loss", evaluations=3, stopped="epochs", starts=[ScoredCode([1, 1], 2.0)],
        best_of_starts=[ScoredCode([1, 2], 0.1 + 0.2)], positions=[[1, 0]],
        trace=[Trial(0, -1, None, [1, 1], 2.0), Trial(0, 0, 1, [1, 3], None, 2.5, 4)],
        pairs_pruned=4, seed=3, order="random",
    ),
    PopulationSearchResult(
        code=[2], loss=0.5, objective="loss", evaluations=2, stopped="generations", start=ScoredCode([1], 1.0),
        trace=[Trial(0, -1, None, [1], 1.0), Trial(0, 0, None, [2], 0.5)], generations=1, seed=3,
    ),
    TaskCodeSearchResult(
        code=[1], task_name="a", loss=1.0, objective="loss", table=[TaskCodeRow("a", [1], 1.0, 1.0, None, None)]
    ),
    CodeEnsembleResult(
        code=[1], task_name="a", template="t", pseudo_accuracy=1.0, pseudo_labels=[0, 1], margins=[0.5, 1.0],
        label_shares=[0.5, 0.5], num_voters=1, one_label_share=0.0, warning=None,
        members=[EnsembleMember("t", 0, "a", 0.0, True, [0.5, 0.5], 1.0)],
    ),
]  # fmt: skip


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_saved_and_loaded_they_are_equal(result, tmp_path):
    result.save(tmp_path / "made" / "result.json")
    assert type(result).load(tmp_path / "made" / "result.json") == result
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["result.json"]


def test_a_result_of_an_earlier_version(tmp_path):
    """It listed the best codes once more, and whether a race had dropped a code."""
    path = tmp_path / "result.json"
    RESULTS[0].save(path)
    data = json.loads(path.read_text())
    data["top"] = [{"code": [1, 2], "loss": 0.1}]
    for trial in data["trace"]:
        trial["raced"] = False
    path.write_text(json.dumps(data))
    assert BitwiseSearchResult.load(path) == CodeSearchResult.load(path) == RESULTS[0]


def damaged(tmp_path, change):
    path = tmp_path / "result.json"
    RESULTS[0].save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(kind="CodeEnsembleResult"), "holds a CodeEnsembleResult, not a BitwiseSearchResult"),
        (lambda data: data.pop("kind"), "holds no saved result"),
        (lambda data: data.pop("loss"), r"missing fields \['loss'\]"),
        (lambda data: data.update(extra=1), r"unknown fields \['extra'\]"),
        (lambda data: data.update(loss="low"), "not a valid BitwiseSearchResult.*loss.*float"),
        (lambda data: data.update(code=[1, "2"]), "not a valid BitwiseSearchResult.*item at index 1 in list 'code'"),
        (lambda data: data["trace"][0].pop("code"), r"missing fields \['code'\].*Trial"),
        (lambda data: data["trace"].append(3), "expected the fields of a Trial"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        BitwiseSearchResult.load(damaged(tmp_path, change))


def test_no_json(tmp_path):
    (tmp_path / "result.json").write_text('{"kind": "Bitwise')
    with pytest.raises(ValueError, match="is not JSON"):
        BitwiseSearchResult.load(tmp_path / "result.json")


def test_the_best_by_accuracy():
    rows = [
        TaskCodeRow(name, [1], 1.0, None, None, accuracy) for name, accuracy in [("a", 0.2), ("b", 0.7), ("c", 0.7)]
    ]
    result = TaskCodeSearchResult([1], "a", 1.0, "loss", rows)
    assert result.best_by_accuracy().task_name == "b"
