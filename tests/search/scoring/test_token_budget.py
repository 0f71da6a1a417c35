import pytest
import torch

from search import CodeScorer
from search.scoring import token_budget
from search.scoring.token_budget import BATCHES, TokenBudget

CPU = torch.device("cpu")


def run(budget, seconds_per_token, batches=40):
    """Full batches, whose cost per token depends on their size."""
    for _ in range(batches):
        budget.note(budget.tokens, budget.tokens * seconds_per_token(budget.tokens))
    return budget.tokens


def test_it_grows_as_long_as_that_helps():
    assert run(TokenBudget(CPU), lambda tokens: 1 / min(tokens, 4096)) == 4096
    assert run(TokenBudget(CPU), lambda tokens: 1.0) == 2048
    assert run(TokenBudget(CPU), lambda tokens: 1 / tokens) == token_budget.LARGEST["cpu"]
    assert run(TokenBudget(CPU, limit=1000), lambda tokens: 1 / tokens) == 1000


def test_one_slow_batch_decides_nothing():
    budget = TokenBudget(CPU)
    for seconds in [9.0, 2.0, 2.0]:
        budget.note(2048, 2048 * seconds)
    assert budget.tokens == 4096
    for seconds in [7.0, 1.0, 8.0]:
        budget.note(4096, 4096 * seconds)
    assert budget.tokens == 8192


def test_small_batches_tell_nothing():
    budget = TokenBudget(CPU)
    for _ in range(3 * BATCHES):
        budget.note(100, 1.0)
    assert budget.tokens == 2048 and budget.clock() > 0


def test_a_given_budget_stays():
    budget = TokenBudget(CPU, 500)
    assert run(budget, lambda tokens: 1 / tokens) == 500
    assert budget.clock() == 0.0


def test_without_memory_it_shrinks_and_stays_so():
    budget = TokenBudget(CPU)
    budget.out_of_memory(1800)
    assert run(budget, lambda tokens: 1 / tokens) == 900
    assert budget.first == 2048


def test_scores_do_not_depend_on_it(model, examples, codes, monkeypatch):
    expected = CodeScorer(model, examples, token_budget=10**6).choice_log_likelihoods(codes)
    monkeypatch.setitem(token_budget.FIRST, "cpu", 40)
    monkeypatch.setattr(token_budget, "WORTHWHILE", -100.0)  # every growth helps
    scorer = CodeScorer(model, examples)
    torch.testing.assert_close(scorer.choice_log_likelihoods(codes), expected, rtol=1e-5, atol=0)
    assert scorer.prompt_scorer.token_budget > 40 == scorer.prompt_scorer.first_token_budget


def test_a_settled_budget_stays_at_its_first():
    budget = TokenBudget(CPU)
    assert run(budget, lambda tokens: 1 / tokens) > budget.first
    grown = TokenBudget(CPU)
    grown.note(2048, 1.0)
    assert grown.settle() and not grown.settle()
    assert run(grown, lambda tokens: 1 / tokens) == grown.tokens == grown.first
    assert not TokenBudget(CPU, 500).settle()


def test_a_budget_of_nothing():
    with pytest.raises(ValueError, match="at least 1"):
        TokenBudget(CPU, 0)
