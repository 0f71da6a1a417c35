import math

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.uncertainty import (
    Comparison,
    compare_answers,
    compute_guessing_loss,
    compute_wilson_interval,
    describe_verdict,
    find_guessing,
    find_one_answer,
    find_opposite,
)


@pytest.mark.parametrize(("right", "rows"), [(0, 4), (4, 4), (1, 1), (99, 156), (20, 32), (900, 1000)])
def test_wilson_interval_is_scipys(right, rows):
    interval = compute_wilson_interval(right / rows, rows)
    expected = binomtest(right, rows).proportion_ci(0.95, "wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_intervals_of_differences_hold_the_true_one():
    draw = np.random.default_rng(0)
    held, rows, chances = 0, 60, (0.3, 0.2, 0.5)  # only the method right, only the baseline, no difference
    for _ in range(1000):
        wins, losses, _ = draw.multinomial(rows, chances)
        interval = Comparison("x", wins, losses, rows).interval
        held += interval.low <= 0.1 <= interval.high
    assert 0.93 <= held / 1000 <= 0.98


def test_verdicts():
    assert Comparison("x", 30, 5, 100).verdict == "better"
    assert Comparison("x", 5, 30, 100).verdict == "worse"
    assert Comparison("x", 20, 15, 100).verdict == "not distinguishable"
    assert Comparison("x", 0, 0, 4).verdict == "not distinguishable"
    assert Comparison("x", 1, 0, 1).verdict == "not distinguishable"


def test_answers_are_compared_row_by_row():
    comparison = compare_answers("the raw LM", [True, True, True, False], [False, False, True, True])
    assert comparison == Comparison("the raw LM", 2, 1, 4)
    assert comparison.difference == 0.25


def test_a_verdict_is_a_sentence():
    beside = [Comparison("the majority class", 60, 20, 156), Comparison("the raw LM", 20, 22, 156)]
    assert describe_verdict("Bitwise Search", 99 / 156, 156, beside) == (
        "Bitwise Search: 63.5% (55.7 to 70.6 on 156 rows), better than the majority class (+25.6 points); not "
        "distinguishable from the raw LM (-1.3 points)."
    )
    assert describe_verdict("x", 0.0, 100, [Comparison("a", 0, 25, 100), Comparison("b", 0, 30, 100)]) == (
        "x: 0.0% (0.0 to 3.7 on 100 rows), worse than a (-25.0 points) and b (-30.0 points)."
    )
    assert describe_verdict("x", 0.5, 10, []) == "x: 50.0% (23.7 to 76.3 on 10 rows)."


def test_a_loss_that_is_hardly_below_guessing_warns():
    guessing = compute_guessing_loss([3, 3])
    assert guessing == pytest.approx(math.log(3))
    assert "1.070, no better than guessing (1.099)" in find_guessing(1.070, guessing)
    assert find_guessing(2.0, guessing) and find_guessing(0.9, guessing) is None
    assert compute_guessing_loss([2, 4]) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_one_answer_to_everything_warns():
    assert find_one_answer([0.0, 1.0]) == "answer 2 of 2 is given to 100% of the rows, whatever they say"
    assert find_one_answer([0.97, 0.03]) is None
    assert find_one_answer([1.0]) is None and find_one_answer([]) is None


def test_two_answers_that_mean_the_opposite_warn():
    assert "it mostly gives the wrong one" in find_opposite([0.5, 0.5], 0.15, 250)
    assert find_opposite([0.5, 0.5], 0.4, 20) is None  # by chance
    assert find_opposite([0.0, 1.0], 0.1, 250) is None  # one answer to everything, of which another warning tells
    assert find_opposite([0.3, 0.3, 0.4], 0.1, 250) is None
