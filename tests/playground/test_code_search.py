import threading

import pytest

from playground.code_search import RunningSearches, bitwise_steps, ensemble_steps
from search import CodeScorer


@pytest.fixture
def scorer(checkpoint):
    choices = ["w7 w8", "w9"]
    inputs = [f"w{i} w{i + 5} w20" for i in range(10, 18)]
    return CodeScorer(checkpoint.model, checkpoint.features(inputs, choices, [choices[i % 2] for i in range(8)]))


def test_bitwise_search_ends_with_the_best_code(scorer):
    courses = list(bitwise_steps(scorer, 200, threading.Event()))
    last = courses[-1]
    assert last.count_codes() <= 200
    assert last.loss == min(e.value for e in last.trace) <= last.get_start_loss()
    assert last.objective == "normalized_loss"


def test_a_stopped_search_returns_the_best_so_far(scorer):
    stop = threading.Event()
    pass_through, calls = scorer.choice_log_likelihoods, []

    def after_three_calls(*args):
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        return pass_through(*args)

    scorer.choice_log_likelihoods = after_three_calls
    last = list(bitwise_steps(scorer, 200, stop))[-1]
    assert len(calls) == 3
    assert last.loss == min(e.value for e in last.trace)


def test_a_search_that_is_stopped_at_once(scorer):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValueError, match="stopped before it had evaluated any code"):
        list(bitwise_steps(scorer, 200, stop))


def test_leaving_ends_the_search(scorer):
    stop = threading.Event()
    steps = bitwise_steps(scorer, 200, stop)
    next(steps)
    steps.close()
    assert stop.is_set()


def test_ensemble_scores_every_code_and_tells(scorer):
    assert list(ensemble_steps(scorer, threading.Event())) == [(0, 3)]
    assert scorer.evaluations == 3


def test_a_stopped_ensemble(scorer):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValueError, match="there is no vote yet"):
        list(ensemble_steps(scorer, stop))


def test_a_new_search_stops_the_same_visitors_earlier_one_alone():
    searches = RunningSearches()
    first, other, second = searches.begin("me"), searches.begin("you"), searches.begin("me")
    assert (first.is_set(), other.is_set(), second.is_set()) == (True, False, False)
    assert not searches.is_latest("me", first) and searches.is_latest("me", second)
    searches.end("me", first)  # which ends after the second has begun
    searches.stop("me")
    assert second.is_set() and not other.is_set()
    searches.end("me", second)
    searches.end("me", second)
    searches.stop("me")  # there is none any more
    assert searches.is_latest("you", other)
