import pytest
import torch

from search import CodeScorer, PopulationSearch, task_code_space

from .conftest import full_code_space

QUIET = {"progress": False}


def distance_to(target):
    return lambda scorer, codes: (codes - torch.tensor(target)).abs().sum(1).double()


def test_crossing_joins_what_is_good_in_different_codes():
    """Each seed has one position right; without mutation the target can only come from crossing."""
    target = [5, 4, 3, 2]
    seeds = [[5, 0, 0, 0], [0, 4, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2]]
    result = PopulationSearch(
        None, full_code_space(4, 6), objective=distance_to(target), start_codes=seeds, mutation_rate=0.0, **QUIET
    ).run()
    assert (result.code, result.loss) == (target, 0.0)
    assert {e.code[0] for e in result.trace} == {0, 5}
    assert result.stopped == "exhausted"  # all 16 crossings are known
    assert result.evaluations == len(result.trace) == 16


def test_mutation_brings_in_new_values():
    search = PopulationSearch(
        None,
        full_code_space(3, 6),
        objective=distance_to([3, 1, 4]),
        start_codes=[[0, 0, 0]],
        mutation_rate=1.0,
        max_evaluations=None,
        **QUIET,
    )
    result = search.run()
    assert (result.code, result.loss) == ([3, 1, 4], 0.0)
    assert result.start.code == [0, 0, 0]


@pytest.mark.parametrize("budget", [2, 9, 50])
def test_a_budget_of_evaluations(budget):
    search = lambda n: PopulationSearch(  # noqa: E731
        None,
        full_code_space(4, 9),
        objective=distance_to([3, 1, 4, 1]),
        start_codes=[[0] * 4, [8] * 4, [5] * 4],
        max_evaluations=n,
        **QUIET,
    )
    result, longer = search(budget).run(), search(90).run()
    assert result.evaluations == budget and result.stopped == "max_evaluations"
    assert result.trace == longer.trace[:budget]
    assert result.loss == min(e.value for e in result.trace)


def test_the_default_seeds_are_the_training_codes(model, examples):
    scorer = CodeScorer(model, examples)
    results = [
        PopulationSearch(scorer, task_code_space(model), population_generations=3, seed=seed, **QUIET).run()
        for seed in (1, 1, 2)
    ]
    first = [e.code for e in results[0].trace if e.step == -1]
    assert first == list(dict.fromkeys(map(tuple, model.task_codes().tolist()))) or sorted(first) == sorted(
        map(list, set(map(tuple, model.task_codes().tolist())))
    )
    assert results[0] == results[1] != results[2]
    assert results[0].loss <= results[0].start.loss == min(e.value for e in results[0].trace if e.step == -1)
    assert results[0].stopped == "generations"


def test_a_trace_cut_anywhere_is_completed(tmp_path, model, examples):
    path = tmp_path / "trace.jsonl"

    def search():
        scorer = CodeScorer(model, examples)
        space = task_code_space(model)
        return PopulationSearch(
            scorer, space, population_children=5, population_generations=4, trace_path=path, **QUIET
        ), scorer

    expected = search()[0].run()
    content = path.read_bytes()
    for cut in range(0, len(content), 1511):
        path.write_bytes(content[:cut])
        again, scorer = search()
        result = again.run()
        assert [e.code for e in result.trace] == [e.code for e in expected.trace] and result.code == expected.code
        assert scorer.evaluations <= len(expected.trace) - max(0, content[:cut].count(b"\n") - 1)
    other = PopulationSearch(
        CodeScorer(model, examples),
        task_code_space(model),
        population_children=6,
        population_generations=4,
        trace_path=path,
        **QUIET,
    )
    with pytest.raises(ValueError, match="children: 5 there, 6 here"):
        other.run()


def test_ctrl_c_leaves_a_result():
    calls = 0

    def objective(scorer, codes):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return distance_to([3, 1])(scorer, codes)

    result = PopulationSearch(
        None, full_code_space(2, 9), objective=objective, start_codes=[[0, 0], [8, 8]], population_children=3, **QUIET
    ).run()
    assert result.stopped == "interrupted" and result.loss == min(e.value for e in result.trace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population_size": 0}, "`population_size` must be at least 1"),
        ({"mutation_rate": 2}, "must be a probability"),
        ({"start_codes": [[1, 2, 3]]}, "3 positions, but the code space has 2"),
        ({"code_space": [[], [1]]}, "at least one value for every position"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"code_space": full_code_space(2, 4), "objective": distance_to([1, 1]), "start_codes": [[0, 0]]}
    with pytest.raises(ValueError, match=message):
        PopulationSearch(None, **{**arguments, **change})


def test_first_steps_go_from_the_best_start_and_their_result_is_crossed():
    """With one start and no mutation, nothing new could be crossed: all that is found, the steps found."""
    arguments = {"objective": distance_to([3, 1, 4]), "mutation_rate": 0.0, "seed": 5, **QUIET}
    search = lambda starts, steps: PopulationSearch(  # noqa: E731
        None, full_code_space(3, 6), start_codes=starts, population_first_steps=steps, **arguments
    ).run()
    assert search([[0, 0, 0]], 0).evaluations == 1
    result = search([[0, 0, 0]], 2)
    first, second = [[t for t in result.trace if t.step == step and t.position is not None] for step in (0, 1)]
    assert len(first) == len(second) == 5 and first[0].position != second[0].position
    improved = [0, 0, 0]
    for position in (first[0].position, second[0].position):
        improved[position] = [3, 1, 4][position]
    assert result.code == improved and result.start.code == [0, 0, 0]
    # Crossing goes on from the start and the result of the steps: each position comes from either.
    later = [t.code for t in result.trace if t.step == 2]
    assert later and all(v in (0, w) for code in later for v, w in zip(code, improved, strict=True))
    # The best start is taken, and no position twice without an improvement: three steps suffice for three positions.
    assert search([[0, 5, 5], [3, 1, 0]], 9).code == [3, 1, 4]


def test_first_steps_end_with_the_budget_and_are_part_of_what_a_trace_depends_on(tmp_path, model, examples):
    scorer, path = CodeScorer(model, examples), tmp_path / "trace.jsonl"
    search = lambda **settings: PopulationSearch(  # noqa: E731
        scorer, task_code_space(model), max_evaluations=6, trace_path=path, **QUIET, **settings
    ).run()
    found = search(population_first_steps=3)
    assert found.evaluations == 6 and found.stopped == "max_evaluations" and found.generations == 0
    assert search(population_first_steps=3).trace == found.trace
    with pytest.raises(ValueError, match="first_steps: 3 there, null here"):
        search()
