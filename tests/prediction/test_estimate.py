import pytest
import torch

from prediction.estimate import best_method, choice_outcomes, cross_fit, estimate_accuracy, stratified_folds


def test_every_answer_is_spread_over_the_folds():
    answers = [0] * 10 + [1] * 5 + [2]
    fold = stratified_folds(answers, 4, seed=3)
    assert fold.bincount().tolist() == [4, 4, 4, 4]
    for answer in (0, 1):
        counts = fold[torch.tensor(answers) == answer].bincount(minlength=4)
        assert counts.max() - counts.min() <= 1
    assert torch.equal(fold, stratified_folds(answers, 4, seed=3))
    assert not torch.equal(fold, stratified_folds(answers, 4, seed=4))


def test_no_row_is_answered_by_what_has_seen_it():
    fold = torch.tensor([0, 1, 2, 0, 1])
    seen = {}

    def find(method, rows, number):
        seen[number] = set(rows)
        return number

    def score(number, rows):
        assert not seen[number] & set(rows.tolist())
        return rows[:, None].double()

    held_out = cross_fit(["a", "b"], fold, find, score)
    assert torch.equal(held_out.scores["b"], torch.arange(5)[:, None].double())  # in the rows' own order
    assert seen[0] == {1, 2, 4}


def test_the_choice_between_methods_does_not_flatter_the_estimate():
    """Methods that all guess: the best of them looks good, and is expected to guess."""
    generator = torch.Generator().manual_seed(0)
    best, estimated = [], []
    for _ in range(60):
        correct = torch.randint(2, (32, 6), generator=generator).double()
        losses = torch.rand(32, 6, generator=generator).double()
        best.append(correct[:, best_method(correct, losses)].mean().item())
        estimated.append(estimate_accuracy(correct, losses, draws=200))
    assert sum(best) / len(best) > 0.58
    assert abs(sum(estimated) / len(estimated) - 0.5) < 0.03


def test_one_method_is_worth_its_mean_and_a_clear_winner_stays_one():
    correct = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]] * 4).double()
    losses = torch.ones_like(correct)
    assert estimate_accuracy(correct[:, :1], losses[:, :1]) == 0.75
    assert estimate_accuracy(correct, losses) == pytest.approx(0.75, abs=0.02)
    assert best_method(correct, losses) == 0


def test_equal_accuracies_are_told_apart_by_the_loss():
    correct = torch.ones(8, 3).double()
    losses = torch.tensor([[2.0, 1.0, 1.0]]).expand(8, 3).double()
    assert best_method(correct, losses) == 1


def test_outcomes():
    scores = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).double()
    correct, losses = choice_outcomes(scores, torch.tensor([1, 1]))
    assert correct.tolist() == [0.0, 1.0]  # of equals the first is the answer
    assert losses.tolist() == pytest.approx([0.6931, 0.3133], abs=1e-4)
