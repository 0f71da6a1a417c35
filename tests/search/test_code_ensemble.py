import json
import logging
import math

import numpy as np
import pytest
import torch

from search import CodeEnsemble, CodeScorer
from search.code_ensemble import ensemble_vote
from search.ensemble_filter import choose_voters, compute_bias

from .conftest import make_examples

PRIORS = {"anli/r1": [0.334, 0.333, 0.333], "super_glue/rte": [146 / 277, 131 / 277]}


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "reference"
    return json.loads((folder / "code_ensemble.json").read_text()), np.load(folder / "code_ensemble.npz")


@pytest.mark.parametrize("dataset", list(PRIORS))
def test_the_recorded_ensembles(recorded, dataset):
    facts, arrays = recorded
    facts, key = facts["datasets"][dataset], dataset.replace("/", "_")
    templates = sorted(facts["templates"], key=lambda name: facts["templates"][name]["index"])
    scores = {name: torch.tensor(arrays[f"{key}.{i}.logits"]).double() for i, name in enumerate(templates)}
    codes = torch.arange(40)[:, None]
    result = ensemble_vote(
        scores, codes, [str(i) for i in range(40)], 10, PRIORS[dataset], "largest_share", keep_rule="original"
    )
    for i, name in enumerate(templates):
        members = [member for member in result.members if member.template == name]
        assert [member.kept for member in members] == arrays[f"{key}.{i}.keep"].astype(bool).tolist()
        np.testing.assert_allclose([m.bias for m in members], arrays[f"{key}.{i}.bias_score"], rtol=0, atol=1e-12)
        counts = np.array([m.label_shares for m in members]) * 32
        np.testing.assert_allclose(counts, arrays[f"{key}.{i}.prediction_counts"])
        alone = ensemble_vote(
            {name: scores[name]}, codes, ["x"] * 40, 10, PRIORS[dataset], "largest_share", keep_rule="original"
        )
        assert alone.pseudo_labels == arrays[f"{key}.{i}.vote_pred_kept"].tolist()
        everyone = ensemble_vote({name: scores[name]}, codes, ["x"] * 40, 40)
        assert everyone.pseudo_labels == arrays[f"{key}.{i}.vote_pred_all"].tolist()
    kept = [member for member in result.members if member.kept]
    assert [
        {"template": m.template, "code": m.code_index, "pseudo_accuracy": m.pseudo_accuracy} for m in kept
    ] == facts["pooled_order"]
    assert [m.pseudo_accuracy for m in kept] == arrays[f"{key}.pseudo_accuracy"].tolist()
    assert result.pseudo_labels == arrays[f"{key}.pooled_vote"].tolist()
    assert (result.template, result.code) == (facts["best_template"], [facts["best_code"]])
    assert result.pseudo_accuracy == facts["best_pseudo_accuracy"]
    assert result.num_voters == len(facts["pooled_order"])


def test_the_recorded_ties(recorded):
    _, arrays = recorded
    scores = torch.tensor(arrays["tie.logits"])
    result = ensemble_vote({"t": scores}, torch.arange(4)[:, None], list("abcd"), 4)
    assert result.pseudo_labels == arrays["tie.vote_pred"].tolist()


# -------------------------------------------------------------------------------------------------- the rules


def from_predictions(*rows, num_labels=2):
    """Scores under which the codes predict these labels."""
    return torch.nn.functional.one_hot(torch.tensor(rows), num_labels).double()


def test_exactly_the_least_biased_are_kept_the_first_of_equals():
    scores = np.array([0.3, 0.1, 0.1, 0.0, 0.1])
    assert choose_voters(scores, 2).tolist() == [False, True, False, True, False]
    assert choose_voters(scores, 2, "original").tolist() == [False, True, True, True, True]
    assert choose_voters(scores, 5).all() and choose_voters(scores, 60, "original").all()


def test_the_bias_is_towards_a_label_and_not_only_as_large():
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])
    prior = np.array([0.5, 0.3, 0.2])
    assert compute_bias(shares, prior) == pytest.approx([0, 0.3, 1 / 6, 0.2])
    assert compute_bias(shares, prior, "largest_share") == pytest.approx([0, 0, 1 / 6, 0])
    two = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert compute_bias(two, np.array([0.5, 0.5])) == pytest.approx(
        compute_bias(two, np.array([0.5, 0.5]), "largest_share")
    )


def test_vote_margins_and_winner():
    scores = from_predictions([0, 1, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0])
    codes = torch.tensor([[4, 4], [5, 5], [6, 6], [7, 7]])
    result = ensemble_vote({"t": scores}, codes, list("abcd"), 3)
    assert [member.kept for member in result.members] == [True, True, True, False]
    assert result.pseudo_labels == [0, 1, 0, 1]
    assert result.margins == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3])
    assert (result.code, result.task_name, result.template) == ([4, 4], "a", "t")
    assert result.pseudo_accuracy == 1.0
    assert result.label_shares == [0.5, 0.5]
    assert result.warning is None
    assert result.members[3].label_shares == [1.0, 0.0] and result.members[3].pseudo_accuracy == 0.5


def test_a_pair_that_does_not_vote_cannot_win():
    scores = from_predictions([0, 0, 0, 1], [0, 1, 0, 1], [1, 0, 0, 1])
    result = ensemble_vote({"t": scores}, torch.tensor([[1], [2], [3]]), list("abc"), 2)
    assert result.pseudo_labels == [0, 0, 0, 1]  # as the first code, which is the most biased
    assert result.task_name == "b" and not result.members[0].kept


def test_templates_vote_together():
    one = from_predictions([0, 1, 0, 1], [1, 0, 1, 0])
    two = from_predictions([0, 1, 1, 0], [0, 1, 0, 1])
    result = ensemble_vote({"one": one, "two": two}, torch.tensor([[1], [2]]), ["a", "b"], 2)
    assert result.pseudo_labels == [0, 1, 0, 0]
    assert [(m.template, m.code_index) for m in result.members] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert result.num_voters == 4
    assert (result.template, result.task_name) == ("one", "a")  # tied with ("two", *): the first


def test_one_code_and_one_example():
    result = ensemble_vote({"t": from_predictions([1])}, torch.tensor([[3, 4]]), ["only"])
    assert (result.code, result.pseudo_labels, result.margins) == ([3, 4], [1], [1.0])
    assert result.pseudo_accuracy == 1.0


def test_fewer_codes_than_asked_for_all_vote():
    result = ensemble_vote({"t": from_predictions([0, 1], [1, 0])}, torch.tensor([[1], [2]]), ["a", "b"], 60)
    assert result.num_voters == 2 and result.pseudo_labels == [0, 0] and result.task_name == "a"


def test_a_prior_changes_who_votes():
    scores = from_predictions([0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0])
    kept = lambda result: [m.task_name for m in result.members if m.kept]  # noqa: E731
    codes, names = torch.tensor([[1], [2], [3]]), list("abc")
    assert kept(ensemble_vote({"t": scores}, codes, names, 1)) == ["b"]
    assert kept(ensemble_vote({"t": scores}, codes, names, 1, [0.75, 0.25])) == ["a"]
    assert kept(ensemble_vote({"t": scores}, codes, names, 1, [0.25, 0.75])) == ["c"]


def test_unequal_numbers_of_choices():
    """Two of three examples have no third choice: no code could predict it as often as the others."""
    scores = torch.tensor([[[0, 1, -math.inf], [1, 0, -math.inf], [0, 0, 1]], [[1, 0, -math.inf]] * 2 + [[1, 0, 0]]])
    result = ensemble_vote({"t": scores}, torch.tensor([[1], [2]]), ["a", "b"], 1)
    assert result.pseudo_labels == [1, 0, 2]
    assert result.members[0].bias == pytest.approx((4 / 9 - 1 / 3) * 2 - 0.0 - (4 / 9 - 1 / 3), abs=0.12)
    assert result.task_name == "a"


def test_codes_that_all_answer_the_same_are_reported(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scores = from_predictions(*[[1] * 20] * 9, [0, 1] * 10)
    with caplog.at_level("WARNING"):
        result = ensemble_vote({"t": scores}, torch.arange(10)[:, None], ["x"] * 10, 5)
    assert result.one_label_share == 0.9
    assert "90% of the (template, code) pairs predict a single label" in result.warning
    assert result.warning in caplog.text


def test_a_vote_for_one_label_is_reported():
    scores = from_predictions([0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0])
    result = ensemble_vote({"t": scores}, torch.arange(3)[:, None], list("abc"), 3)
    assert result.pseudo_labels == [0, 0, 0, 0]
    assert "gives 100% of the 4 examples label 0" in result.warning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": [0.5, 0.3, 0.2]}, "The prior must hold 2 shares"),
        ({"prior": [0.5, 0.6]}, "add up to 1"),
        ({"num_codes": 0}, "At least one code"),
        ({"bias": "both"}, "no bias score 'both'"),
        ({"keep_rule": "some"}, "no keep rule 'some'"),
    ],
)
def test_wrong_arguments(arguments, message):
    scores = from_predictions([0, 1], [1, 0])
    with pytest.raises(ValueError, match=message):
        ensemble_vote({"t": scores}, torch.tensor([[1], [2]]), ["a", "b"], **{"num_codes": 1, **arguments})


def test_templates_over_different_examples():
    scores = {"one": from_predictions([0, 1, 0]), "two": from_predictions([0, 1])}
    with pytest.raises(ValueError, match="'one' and 'two' cannot vote together"):
        ensemble_vote(scores, torch.tensor([[1]]), ["a"])


# ---------------------------------------------------------------------------------------------------- a model


def test_with_a_model_and_no_labels(model):
    scorer = CodeScorer(model, make_examples(20, labelled=False))
    result = CodeEnsemble(scorer, num_codes=3).run()
    codes = model.task_codes()
    assert result.task_name in model.task_names
    assert result.code == codes[model.task_names.index(result.task_name)].tolist()
    assert len(result.members) == 7 and result.num_voters == 3
    predictions = scorer.predictions(codes).numpy()
    for member in result.members:
        agreement = (predictions[member.code_index] == np.array(result.pseudo_labels)).mean()
        assert member.pseudo_accuracy == pytest.approx(agreement)


def test_labels_make_no_difference(model):
    rows = make_examples(12)
    hidden = [{**row, "answer": -1, "labels": []} for row in rows]
    wrong = [{**row, "answer": 1 - min(row["answer"], 1)} for row in rows]
    results = [CodeEnsemble(CodeScorer(model, each), num_codes=3).run() for each in (rows, hidden, wrong)]
    assert results[0] == results[1] == results[2]


def test_several_templates_with_a_model(model):
    rows = make_examples(8, labelled=False)
    longer = [{**row, "input_ids": [9, 9, *row["input_ids"]]} for row in rows]
    result = CodeEnsemble({"a": CodeScorer(model, rows), "b": CodeScorer(model, longer)}, num_codes=2).run()
    assert result.num_voters == 4 and len(result.members) == 14


def test_a_free_form_task_is_refused(model):
    rows = [{"input_ids": [3, 1], "labels": [4, 1]}]
    with pytest.raises(ValueError, match="template 'default' has none"):
        CodeEnsemble(CodeScorer(model, rows))
    with pytest.raises(ValueError, match="no templates"):
        CodeEnsemble({})


def test_a_vote_that_is_nearly_all_one_label_is_called_so():
    balanced = [0, 1] * 20
    blind = [1] + [0] * 39
    result = ensemble_vote({"t": from_predictions(balanced, blind, blind)}, torch.arange(3)[:, None], list("abc"), 3)
    assert result.pseudo_labels == blind
    assert "98% of the 40 examples label 0" in result.warning
