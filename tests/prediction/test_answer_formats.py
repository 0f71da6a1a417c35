import pytest
import torch

from prediction.answer_formats import make_decision, rank_answers

PROBABILITIES = torch.tensor([0.2, 0.5, 0.3])


def test_ranked_answers():
    assert [answer["label"] for answer in rank_answers("abc", PROBABILITIES, None)] == ["b", "c", "a"]
    assert rank_answers([1, 2, 3], PROBABILITIES, 1) == [{"label": 2, "score": 0.5}]


def test_decisions_are_those_of_the_pipeline():
    template_utils = pytest.importorskip("transformers.decision.template_utils")
    kinds = ["choice", "noul"]
    asked = [template_utils.Question("q", kind, None, list("abc"), list("ABC"), [None] * 3) for kind in kinds]
    exact = torch.tensor([0.25, 0.5, 0.25])
    assert make_decision(["a", "b", "c"], exact) == asked[0].answer(exact.tolist())
    asked[1].options = ["true", "false"]
    assert make_decision([False, True], exact[:2]) == asked[1].answer([0.5, 0.25])


def test_yes_or_no():
    assert make_decision([False, True], torch.tensor([0.25, 0.75])) == {"type": "noul", "noul": 0.75}
    assert make_decision([0, 1], torch.tensor([0.25, 0.75]))["choice"] == 1


def test_several_tasks_about_one_text(fitted):
    found = fitted.decide({"first": "w30", "second": "w4"}, ["fields"])
    assert 0 <= found["fields"]["noul"] <= 1
    found = fitted.decide("w30 w31", ["reviews", "stars"])
    assert [found[task]["choice"] for task in found] == fitted.predict(["w30 w31"] * 2, ["reviews", "stars"])
