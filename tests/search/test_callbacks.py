import pytest
import torch

from search import BitwiseSearch, CodeScorer, PopulationSearch, SearchCallback, task_code_space

from .conftest import full_code_space


def distance_to(target):
    return lambda scorer, codes: (codes - torch.tensor(target)).abs().sum(1).double()


class Diary(SearchCallback):
    """What it is told, and a wish to stop once it was told of so many steps."""

    def __init__(self, stop_after=None):
        self.events, self.bests, self.stop_after = [], [], stop_after

    def on_search_begin(self, state, control):
        self.events.append("begin")

    def on_step(self, state, control):
        self.events.append("step")
        assert state.evaluations == len({tuple(trial.code) for trial in state.trials})
        control.should_stop = self.events.count("step") == self.stop_after

    def on_new_best(self, state, control):
        self.bests.append(state.best.loss)

    def on_search_end(self, state, control):
        self.events.append(state.stopped)


@pytest.mark.parametrize("search", [BitwiseSearch, PopulationSearch])
def test_callbacks_see_all_of_a_search(search):
    diary = Diary()
    result = search(
        None, full_code_space(4, 6), objective=distance_to([3, 1, 4, 1]), start_codes=[[0] * 4, [5] * 4],
        callbacks=[diary], progress=False,
    ).run()  # fmt: skip
    assert diary.events[0] == "begin" and diary.events[-1] == result.stopped
    assert set(diary.events[1:-1]) == {"step"}
    assert diary.bests == sorted(diary.bests, reverse=True) and diary.bests[-1] == result.loss


@pytest.mark.parametrize("search", [BitwiseSearch, PopulationSearch])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_callback_ends_a_search_which_goes_on_from_its_trace(search, steps, model, examples, tmp_path):
    def run(path, *callbacks):
        scorer = CodeScorer(model, examples)
        options = {"max_evaluations": 80, "population_children": 5, "progress": False}
        return search(scorer, task_code_space(model), trace_path=path, callbacks=callbacks, **options).run()

    expected = run(tmp_path / "whole")
    stopped = run(tmp_path / "trace", Diary(stop_after=steps))
    assert stopped.stopped == "callback"
    assert stopped.trace == expected.trace[: len(stopped.trace)] != expected.trace
    assert stopped.loss == min(trial.value for trial in stopped.trace if trial.value is not None)
    resumed = run(tmp_path / "trace")
    assert [trial.code for trial in resumed.trace] == [trial.code for trial in expected.trace]


def test_a_wish_to_stop_at_once_leaves_a_result_too():
    class Hurry(SearchCallback):
        def on_search_begin(self, state, control):
            control.should_stop = True

    result = BitwiseSearch(
        None, full_code_space(2, 3), objective=distance_to([2, 2]), start_codes=[0, 0], callbacks=[Hurry()],
        progress=False,
    ).run()  # fmt: skip
    assert (result.code, result.stopped, result.evaluations) == ([0, 0], "callback", 1)


def test_the_end_is_told_where_the_objective_fails():
    diary = Diary()
    with pytest.raises(ZeroDivisionError):
        BitwiseSearch(
            None, full_code_space(2, 3), objective=lambda *_: 1 / 0, start_codes=[0, 0], callbacks=[diary]
        ).run()
    assert diary.events == ["begin", "error"]
