import math

import pytest
import torch

from prediction.calibration import Calibration, expected_calibration_error, fit_calibration


@pytest.fixture
def scores_and_answers():
    """Scores that say the truth, and answers drawn by them; 3 choices."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 3, generator=generator, dtype=torch.float64) * 2
    answers = torch.multinomial(scores.softmax(1), 1, generator=generator).squeeze(1)
    return scores, answers


def test_a_temperature_that_was_put_in_is_found(scores_and_answers):
    scores, answers = scores_and_answers
    found = fit_calibration(3 * scores - 40, answers, with_prior=False)
    assert found.prior is None and found.temperature == pytest.approx(3, rel=0.1)
    before = expected_calibration_error((3 * scores).softmax(1), answers)
    after = expected_calibration_error(found.log_probabilities(3 * scores).exp(), answers)
    assert after < 0.02 < before


def test_a_preference_that_was_put_in_is_taken_out(scores_and_answers):
    scores, answers = scores_and_answers
    shifted = scores + torch.tensor([2.0, 0.0, 0.0])
    found = fit_calibration(shifted, answers)
    assert sum(found.prior) == pytest.approx(1) and found.prior[0] > max(found.prior[1:])
    right = (found.log_probabilities(shifted).argmax(1) == answers).double().mean()
    assert right > (shifted.argmax(1) == answers).double().mean() + 0.05


def test_no_prior_where_answers_are_as_frequent_as_they_are_given(scores_and_answers):
    scores, answers = scores_and_answers
    assert fit_calibration(scores, answers).prior == pytest.approx([1 / 3] * 3, abs=0.02)


def test_choices_that_are_not_there_stay_so():
    scores = torch.tensor([[1.0, 2.0, -math.inf], [0.0, 1.0, 3.0]])
    found = fit_calibration(scores, torch.tensor([1, 2]), with_prior=False)
    probabilities = found.log_probabilities(scores).exp()
    assert probabilities[0, 2] == 0 and torch.allclose(probabilities.sum(1), torch.ones(2).double())


def test_a_few_rows_that_are_all_right_tell_little():
    answers = torch.tensor([0, 1] * 8)
    sure, unsure = torch.tensor([[9.0, 0.0], [0.0, 9.0]] * 8), torch.tensor([[0.5, 0.0], [0.0, 0.5]] * 8)
    assert fit_calibration(sure, answers).temperature == pytest.approx(1, abs=0.05)
    found = fit_calibration(unsure, answers)
    assert 0.1 < found.temperature < 0.5  # surer than it was, not certain
    assert found.log_probabilities(unsure).exp().max() < 0.99


def test_two_answers_that_mean_the_opposite_are_exchanged(scores_and_answers):
    scores, answers = scores_and_answers
    two = scores[answers < 2][:, :2] + torch.tensor([1.0, 0.0])  # the first is preferred as well
    opposite = 1 - answers[answers < 2]
    found = fit_calibration(two, opposite)
    assert found.temperature < 0
    right = (found.log_probabilities(two).argmax(1) == opposite).double().mean()
    assert right > 0.75 > 0.3 > (two.argmax(1) == opposite).double().mean()
    rare = torch.cat([torch.nonzero(opposite == 0)[:20, 0], torch.nonzero(opposite == 1)[:200, 0]])
    found = fit_calibration(two[rare], opposite[rare])
    given = found.log_probabilities(two[rare]).exp().mean(0)
    assert found.temperature < 0 and given[0] == pytest.approx(20 / 220, abs=0.06)


def test_a_threshold_far_off_is_found_with_few_rows():
    """The second answer is right from a difference of 4 on: by its frequency alone that would take many more rows."""
    generator = torch.Generator().manual_seed(0)
    difference = 4 + 3 * torch.randn(264, generator=generator, dtype=torch.float64)
    scores, answers = torch.stack([torch.zeros(264).double(), difference], 1), (difference > 4).long()
    found = fit_calibration(scores[:64], answers[:64])
    right = (found.log_probabilities(scores[64:]).argmax(1) == answers[64:]).double().mean()
    assert right > 0.85 > (scores[64:].argmax(1) == answers[64:]).double().mean() + 0.2


def test_useless_scores_have_a_prior_that_has_a_logarithm():
    scores = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * 300
    found = fit_calibration(scores, torch.zeros(400, dtype=torch.long))
    assert min(found.prior) > 0 and found.log_probabilities(scores).exp()[:, 0].mean() > 0.9


def test_answers_are_not_exchanged_by_chance():
    generator = torch.Generator().manual_seed(0)
    exchanged = 0
    for _ in range(200):  # scores that say nothing
        scores, answers = torch.randn(32, 2, generator=generator), torch.randint(2, (32,), generator=generator)
        exchanged += fit_calibration(scores, answers).temperature < 0
    assert exchanged < 20


def test_without_calibration_probabilities_are_those_among_the_answers():
    scores = torch.tensor([[-40.0, -41.0]])
    assert torch.allclose(Calibration().log_probabilities(scores).exp(), scores.double().softmax(1))


def test_the_error_by_hand():
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35]])
    # two rows at 0.95, of which half are right; one at 0.65, which is right
    expected = (2 * 0.45 + 0.35) / 3
    assert expected_calibration_error(probabilities, torch.tensor([0, 1, 0])) == pytest.approx(expected)
