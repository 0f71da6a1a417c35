"""Ways of choosing a code without labels, on answers that say which code should win."""

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def ensemble_votes(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import ensemble_votes

    return ensemble_votes


@pytest.fixture
def scores():
    """Scores `(7, 60, 3)`: three codes that know the answers more or less, three that guess, one that says one thing."""
    generator = np.random.default_rng(0)
    answers = generator.integers(0, 3, 60)
    noise = generator.normal(size=(7, 60, 3))
    strength = np.array([5.0, 3.0, 2.0, 0, 0, 0, 0])
    scores = noise + strength[:, None, None] * np.eye(3)[answers]
    scores[6, :, 2] += 9
    return scores


def test_every_way_finds_a_code_that_knows_and_agrees_with_permuted_codes(ensemble_votes, scores):
    order = np.random.default_rng(1).permutation(7)
    for name, way in ensemble_votes.WAYS.items():
        chosen, votes = way(scores)
        assert chosen in (0, 1, 2), name
        assert votes.shape == (60, 3) and np.isfinite(votes).all(), name
        assert order[way(scores[order])[0]] == chosen, name


def test_information_is_of_answers_and_inputs(ensemble_votes):
    sure, unsure, constant = np.eye(4)[[0, 1, 2, 3]] * 50, np.zeros((4, 4)), np.eye(4)[[1, 1, 1, 1]] * 50
    information = ensemble_votes.compute_information(np.stack([sure, unsure, constant]))
    assert information == pytest.approx([np.log(4), 0, 0], abs=1e-6)


def test_kappas_leave_out_chance(ensemble_votes):
    a, b = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 0, 1]]  # they agree on half of the rows, as chance would
    assert ensemble_votes.compute_kappas(np.stack([a, b])) == pytest.approx(np.eye(2))


def test_the_table_is_by_seed(ensemble_votes, scores, tmp_path):
    answers = scores[0].argmax(1)
    for seed in (1, 2):
        wrong = (answers + seed - 1) % 3  # in the second seed the evaluation rows' answers are others
        np.savez(tmp_path / f"{seed}_task.npz", unlabelled=scores, evaluation=scores, answers=wrong)
    lines = ensemble_votes.make_table(sorted(tmp_path.glob("*.npz"))).splitlines()
    assert lines[0] == "2 tasks, seeds ['1', '2']."
    assert "| most mutual information | 50.0 ± 70.7 | 0.0 | 50.0 ± 70.7 |" in lines
