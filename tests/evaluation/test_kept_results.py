import pytest

from evaluation.ctr_methods import load_found_codes
from evaluation.dataset_run import FoundCode
from evaluation.kept_results import load_kept
from evaluation.score import load_scores, save_scores
from safe_files import write_json


def test_what_was_asked_the_same_is_taken_up(tmp_path, score):
    path = tmp_path / "scores.json"
    assert load_kept(path, {}, load_scores) is None
    save_scores([score()], path, {"settings": {"seeds": (1, 2)}})
    assert load_kept(path, {"settings": {"seeds": (1, 2)}}, load_scores) == [score()]
    assert load_kept(path, {"settings": {"seeds": (1,)}}, load_scores) is None


DAMAGED = [
    "",
    "{",
    "[]",
    "null",
    "\x00" * 9,
    '{"asked": {}, "about": {}, "found": [{"cod": [1]}], "scores": [{"task": 1}]}',
]


@pytest.mark.parametrize("load", [load_scores, load_found_codes])
@pytest.mark.parametrize("content", DAMAGED)
def test_what_is_damaged_is_not_and_the_log_says_so(tmp_path, monkeypatch, load, content):
    told = []
    monkeypatch.setattr("evaluation.kept_results.logger.warning", told.append)
    path = tmp_path / "kept.json"
    path.write_text(content)
    assert load_kept(path, {}, load) is None
    assert len(told) == 1 and "kept.json" in told[0] and told[0].endswith("It is computed again.")


def test_found_codes_come_back(tmp_path):
    found = [FoundCode("plain", "Bitwise Search", [1, 2], labelled=32, seconds=1.5)]
    write_json(tmp_path / "found.json", {"asked": {"a": 1}, "found": [vars(each) for each in found]})
    assert load_found_codes(tmp_path / "found.json") == (found, {"a": 1})
