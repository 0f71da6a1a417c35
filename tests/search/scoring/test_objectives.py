import pytest
import torch

from search import OBJECTIVES, CodeScorer, PromptScorer
from search.scoring.objectives import is_better, resolve_objective

from ..conftest import make_examples


def test_values_by_definition(model, examples, codes):
    scorer = CodeScorer(model, examples)
    scores = scorer.choice_log_likelihoods(codes)
    answers = torch.tensor([row["answer"] for row in examples])
    gold = scores.gather(2, answers.expand(6, -1)[..., None])[..., 0]
    loss, normalized, accuracy = (OBJECTIVES[name] for name in ("loss", "normalized_loss", "accuracy"))
    torch.testing.assert_close(loss(scorer, codes), -gold.sum(1))
    torch.testing.assert_close(normalized(scorer, codes), -(gold - scores.logsumexp(2)).mean(1))
    torch.testing.assert_close(accuracy(scorer, codes), 1 - scorer.accuracies(codes))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_terms_are_never_negative_and_add_up(model, examples, codes, name):
    scorer, objective = CodeScorer(model, examples), OBJECTIVES[name]
    terms = objective.terms(scorer, codes, None)
    assert (terms >= 0).all()
    part = objective.terms(CodeScorer(model, examples), codes, torch.tensor([4, 1]))
    torch.testing.assert_close(part, terms[:, [4, 1]], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(objective.value(terms.sum(1), 9), objective(scorer, codes))


def test_the_default_depends_on_the_examples(model, examples):
    free_form = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in examples]
    assert resolve_objective(None, CodeScorer(model, examples)).name == "normalized_loss"
    assert resolve_objective(None, CodeScorer(model, free_form)).name == "loss"


def test_an_unknown_objective(model, examples):
    with pytest.raises(ValueError, match="no objective 'los': choose one of"):
        resolve_objective("los", CodeScorer(model, examples))


@pytest.mark.parametrize("name", ["normalized_loss", "accuracy", "loss"])
def test_unlabelled_examples(model, codes, name):
    with pytest.raises(ValueError, match="labelled examples"):
        OBJECTIVES[name](CodeScorer(model, make_examples(labelled=False)), codes)


def test_rounding_makes_nothing_better():
    assert not is_better(150.0 - 1e-5, 150.0)
    assert is_better(149.9, 150.0)
    assert not is_better(float("nan"), 1.0)


@pytest.mark.parametrize("objective", ["normalized_loss", "loss", "accuracy"])
def test_weights_multiply_the_terms(model, examples, codes, objective):
    weights = [0.0, 0.25, 1.0, 2.0, 0.5, 0.5, 0.1, 1.0, 3.0]
    weighted = [{**row, "weight": weight} for row, weight in zip(examples, weights, strict=True)]
    terms = OBJECTIVES[objective].terms(CodeScorer(model, examples), codes, None)
    scorer = CodeScorer(model, weighted)
    torch.testing.assert_close(
        OBJECTIVES[objective].terms(scorer, codes, None), terms * torch.tensor(weights).double()
    )
    some = torch.tensor([8, 3])
    expected = terms[:, some] * torch.tensor([3.0, 2.0]).double()
    found = OBJECTIVES[objective].terms(CodeScorer(model, weighted), codes, some)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert scorer.fingerprint()["data"] != CodeScorer(model, examples).fingerprint()["data"]


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
def test_weights_multiply_the_gradients(model, examples, codes, objective):
    prompts = model.prompt_vectors(codes[:1]).detach()
    weighted = [{**row, "weight": 2.0 if i in (1, 4) else 0.0} for i, row in enumerate(examples)]
    _, gradients = OBJECTIVES[objective].gradients(PromptScorer(model, weighted), prompts, None)
    _, expected = OBJECTIVES[objective].gradients(PromptScorer(model, examples), prompts, torch.tensor([1, 4]))
    torch.testing.assert_close(gradients, 2 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_weights_that_are_none(model, examples, weight):
    examples[3]["weight"] = weight
    with pytest.raises(ValueError, match="Example 3 has the weight"):
        CodeScorer(model, examples)
