import pytest
import torch

from search import OBJECTIVES, BitwiseSearch, CodeEnsemble, CodeScorer, PromptScorer, pseudo_labelled, task_code_space

from .conftest import make_examples


def test_rows_take_the_vote_as_their_answer_and_its_margin_as_their_weight(examples):
    labels = [0] * 8 + [1]
    rows = pseudo_labelled(examples, labels, [0.5, *[0.0] * 7, 1.0], weight=0.5)
    assert [row["weight"] for row in rows] == [0.25, 0.5]  # draws are left out
    assert [row["answer"] for row in rows] == [0, 1]
    assert rows[1]["labels"] == examples[8]["choice_ids"][1]
    assert rows[0]["input_ids"] == examples[0]["input_ids"]


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


def test_a_search_without_labels_agrees_with_the_vote_at_least_as_well_as_its_winner(model):
    """And never sees a label."""
    unlabelled = make_examples(12, labelled=False)
    vote = CodeEnsemble(CodeScorer(model, unlabelled)).run()
    rows = pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins)
    search = BitwiseSearch(CodeScorer(model, rows), task_code_space(model), start_codes=vote.code, progress=False)
    result = search.run()
    assert result.starts[0].code == vote.code
    assert result.loss < result.starts[0].loss


def test_both_kinds_of_rows_together(model):
    labelled, unlabelled = make_examples(8), make_examples(12, seed=1, labelled=False)
    found = BitwiseSearch(CodeScorer(model, labelled), task_code_space(model), progress=False).run()
    best = torch.tensor([each.code for each in found.top])
    vote = CodeEnsemble(CodeScorer(model, unlabelled), codes=best, num_codes=len(best)).run()
    rows = [*labelled, *pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins, weight=0.5)]
    scorer = CodeScorer(model, rows)
    assert scorer.prompt_scorer.weights[:8].tolist() == [1.0] * 8 and scorer.prompt_scorer.weights[8:].max() <= 0.5
    together = BitwiseSearch(scorer, task_code_space(model), start_codes=found.code, progress=False).run()
    assert together.loss <= together.starts[0].loss


def test_votes_that_do_not_fit(examples):
    with pytest.raises(ValueError, match="9 examples, but 2 pseudo-labels and 2 margins"):
        pseudo_labelled(examples, [0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="nothing to search by"):
        pseudo_labelled(examples, [0] * 9, [0.0] * 9)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_weights_that_are_none(model, examples, weight):
    examples[3]["weight"] = weight
    with pytest.raises(ValueError, match="Example 3 has the weight"):
        CodeScorer(model, examples)
