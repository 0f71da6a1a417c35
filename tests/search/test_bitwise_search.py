import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from search import (
    OBJECTIVES,
    BitwiseSearch,
    CodeScorer,
    PopulationSearch,
    best_training_code,
    callbacks,
    code_search,
    pruning,
    task_code_space,
    trial_runner,
)
from search.bitwise_search import rank_variants
from search.scoring import token_budget
from search.scoring.objectives import is_better

from .conftest import full_code_space, make_examples, make_model

QUIET = {"progress": False, "prune": False}
PRUNED = {"progress": False, "prune": True}


def lookup(values):
    """An objective that reads recorded losses; it fails for any other code."""
    return lambda scorer, codes: torch.tensor([values[tuple(code)] for code in codes.tolist()], dtype=torch.float64)


def plain_search(value_of, space, code, steps, draws):
    """The paper's algorithm, written down directly. Returns codes in order of evaluation and the best code."""
    seen, best, best_value, order = {code}, code, value_of(code), [code]
    for _ in range(steps):
        position = draws.randint(0, len(code) - 1)
        base = best
        for value in space[position]:
            variant = (*base[:position], value, *base[position + 1 :])
            if variant in seen:
                continue
            seen.add(variant)
            order.append(variant)
            if is_better(value_of(variant), best_value):
                best, best_value = variant, value_of(variant)
    return order, best


# --------------------------------------------------------------------------------------------------- recorded


def check_recorded_run(run, result):
    init = run["init_code"]
    # The original evaluates its start a second time when it first meets it.
    expected = [e for e in run["evaluations"] if e["code"] != init]
    found = [e for e in result.trace if e.step >= 0]
    assert [e.code for e in found] == [e["code"] for e in expected]
    assert [(e.step, e.position) for e in found] == [(e["step"], e["position"]) for e in expected]
    assert [e.value for e in found] == pytest.approx([e["loss"] for e in expected], abs=1e-4)
    (positions,) = result.positions
    assert positions == run["positions"][: len(positions)]
    if result.stopped == "epochs":
        assert positions == run["positions"]
    else:  # a local optimum: the original draws on, but has nothing left to evaluate
        assert max(e["step"] for e in run["evaluations"]) < len(positions)
    assert result.starts[0].loss == pytest.approx(run["init_loss"], abs=1e-4)
    assert result.code == run["best_code"]
    assert result.loss == pytest.approx(run["best_loss"], abs=1e-4)
    assert [t.code for t in result.get_top(1000)] == [t["code"] for t in run["top_results"]]
    assert [t.loss for t in result.get_top(1000)] == pytest.approx([t["loss"] for t in run["top_results"]], abs=1e-4)


def run_again(run, space, scorer, objective, **kwargs):
    search = BitwiseSearch(
        scorer,
        space,
        objective=objective,
        start_codes=run["init_code"],
        seed=run["seed"],
        search_epochs=run["epoch_num"],
        **(QUIET | kwargs),
    )
    return search.run()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_recorded_runs_on_their_losses(bitwise_reference, number):
    run = bitwise_reference["runs"][number]
    losses = {tuple(e["code"]): e["loss"] for e in run["evaluations"]} | {tuple(run["init_code"]): run["init_loss"]}
    result = run_again(run, bitwise_reference["valid_code_space"], None, lookup(losses))
    check_recorded_run(run, result)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_recorded_runs_with_the_model(bitwise_reference, reference_model, reference_examples, number):
    run = bitwise_reference["runs"][number]
    scorer = CodeScorer(reference_model, reference_examples)
    result = run_again(run, task_code_space(reference_model), scorer, "loss")
    check_recorded_run(run, result)
    assert result.evaluations == scorer.evaluations == len({tuple(e["code"]) for e in run["evaluations"]})


def test_the_recorded_run_with_pruning(bitwise_reference, reference_model, reference_examples):
    run = bitwise_reference["runs"][1]
    scorer = CodeScorer(reference_model, reference_examples, token_budget=200)
    result = run_again(run, task_code_space(reference_model), scorer, "loss", prune=True)
    assert result.code == run["best_code"]
    assert [e.code for e in result.trace if e.step >= 0] == [
        e["code"] for e in run["evaluations"] if e["code"] != run["init_code"]
    ]


# -------------------------------------------------------------------------------------------------- algorithm


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_plain_algorithm(seed):
    draw = random.Random(seed)
    space = [sorted(draw.sample(range(9), 4)) for _ in range(4)]
    table = {}
    value_of = lambda code: table.setdefault(code, float(random.Random(str((code, seed))).randrange(30)))  # noqa: E731
    start = tuple(values[0] for values in space)
    order, best = plain_search(value_of, space, start, 5 * 4, random.Random(seed))
    result = BitwiseSearch(
        None, space, objective=lambda _, codes: torch.tensor([value_of(tuple(c)) for c in codes.tolist()]),
        start_codes=start, seed=seed, search_epochs=5, **QUIET,
    ).run()  # fmt: skip
    assert [tuple(e.code) for e in result.trace] == order
    assert tuple(result.code) == best


def distance_to(target):
    return lambda scorer, codes: (codes - torch.tensor(target)).abs().sum(1).double()


def test_cyclic_sweeps_end_at_a_local_optimum():
    result = BitwiseSearch(
        None,
        full_code_space(4, 6),
        objective=distance_to([3, 1, 4, 1]),
        start_codes=[0, 0, 0, 0],
        search_order="cyclic",
        **QUIET,
    ).run()
    assert result.code == [3, 1, 4, 1] and result.loss == 0
    # One sweep finds it. The last improvement was position 3's, so positions 0 to 2 have to be tried again.
    assert result.positions == [[0, 1, 2, 3, 0, 1, 2]]
    assert result.stopped == "local_optimum"


def test_each_step_is_one_batch():
    sizes = []

    def objective(scorer, codes):
        sizes.append(len(codes))
        return distance_to([3, 1, 4])(scorer, codes)

    BitwiseSearch(
        None, full_code_space(3, 6), objective=objective, start_codes=[0, 0, 0], search_order="cyclic", **QUIET
    ).run()
    assert sizes == [1, 5, 5, 5, 5, 5]


def test_no_code_is_evaluated_twice():
    result = BitwiseSearch(
        None, full_code_space(3, 4), objective=distance_to([3, 1, 2]), start_codes=[0, 0, 0], search_epochs=50, **QUIET
    ).run()
    codes = [tuple(e.code) for e in result.trace]
    assert len(codes) == len(set(codes)) == result.evaluations


@pytest.mark.parametrize("budget", [1, 2, 7, 11])
def test_a_budget_of_evaluations(budget):
    search = lambda n: BitwiseSearch(  # noqa: E731
        None,
        full_code_space(3, 6),
        objective=distance_to([3, 1, 4]),
        start_codes=[0, 0, 0],
        max_evaluations=n,
        **QUIET,
    )
    result, unlimited = search(budget).run(), search(None).run()
    assert result.evaluations == budget and result.stopped == "max_evaluations"
    assert result.trace == unlimited.trace[:budget]
    assert result.loss == min(e.value for e in result.trace)


@pytest.mark.parametrize("search", [BitwiseSearch, PopulationSearch])
@pytest.mark.parametrize("target", [0.0, 3.0, 9.0])
def test_a_search_ends_with_the_step_that_reaches_the_target(search, target):
    run = lambda **settings: search(  # noqa: E731
        None,
        full_code_space(4, 6),
        objective=distance_to([3, 1, 4, 1]),
        start_codes=[[0] * 4, [5] * 4],
        **QUIET,
        **settings,
    ).run()
    result, longer = run(target_loss=target), run(max_evaluations=400)
    assert result.stopped == "target_loss" and result.loss <= target
    steps = [(trial.start, trial.step) for trial in longer.trace if trial.value <= target]
    whole = [trial for trial in longer.trace if (trial.start, trial.step) <= steps[0]]
    assert result.trace == whole


def test_several_starts_keep_the_best():
    # A ridge that single positions cannot cross: only the second start is on the right side.
    def objective(scorer, codes):
        far = codes.sum(1) >= 10
        return torch.where(far, 15 - codes.sum(1), 3 + codes.sum(1)).double()

    starts = [[0, 0, 0], [5, 4, 4]]
    result = BitwiseSearch(None, full_code_space(3, 6), objective=objective, start_codes=starts, **QUIET).run()
    assert [start.code for start in result.starts] == starts
    assert [best.code for best in result.best_of_starts] == [[0, 0, 0], [5, 5, 5]]
    assert (result.code, result.loss) == ([5, 5, 5], 0)
    assert {e.start for e in result.trace} == {0, 1}


def test_a_later_start_takes_what_earlier_ones_found():
    calls = []

    def objective(scorer, codes):
        calls.extend(map(tuple, codes.tolist()))
        return distance_to([2, 2])(scorer, codes)

    result = BitwiseSearch(
        None, full_code_space(2, 3), objective=objective, start_codes=[[0, 0], [0, 1], [0, 0]], **QUIET
    ).run()
    assert len(calls) == len(set(calls)) == result.evaluations
    assert [best.code for best in result.best_of_starts] == [[2, 2], [2, 2]]  # one start was there twice


def test_the_default_start_is_the_best_training_code(model, examples):
    scorer = CodeScorer(model, examples)
    expected = best_training_code(scorer)
    result = BitwiseSearch(scorer, task_code_space(model), **QUIET).run()
    assert result.starts[0].code == expected.code
    assert result.objective == "normalized_loss"
    assert result.loss <= expected.loss
    assert result.loss == pytest.approx(min(e.value for e in result.trace))
    ranked = sorted({tuple(row.code): row.loss for row in expected.table}.items(), key=lambda item: item[1])
    several = BitwiseSearch(scorer, task_code_space(model), num_starts=3, **QUIET).run()
    assert [tuple(start.code) for start in several.starts] == [code for code, _ in ranked[:3]]


def test_seeds_and_no_global_state(model, examples):
    def positions(seed):
        search = BitwiseSearch(CodeScorer(model, examples), task_code_space(model), seed=seed, **QUIET)
        return search.run().positions

    random.seed(0)
    state = random.getstate()
    first = positions(1)
    assert positions(1) == first and positions(2) != first
    assert random.getstate() == state


@pytest.mark.parametrize("objective", ["normalized_loss", "loss", "accuracy"])
def test_objectives_and_token_budgets(model, examples, objective):
    results = []
    for budget in (25, 4000):
        scorer = CodeScorer(model, examples, token_budget=budget)
        results.append(BitwiseSearch(scorer, task_code_space(model), objective=objective, **QUIET).run())
    assert results[0].code == results[1].code
    assert [e.code for e in results[0].trace] == [e.code for e in results[1].trace]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)
    assert results[0].get_top()[0].loss == min(t.loss for t in results[0].get_top())


# -------------------------------------------------------------------------------------------------- gradients


def neighbours(code, space):
    return [(*code[:i], v, *code[i + 1 :]) for i, values in enumerate(space) for v in values if v != code[i]]


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
def test_variants_are_ranked_by_the_first_order(model, examples, objective):
    scorer, code, space = CodeScorer(model, examples), (1, 2, 3), full_code_space(3, 12)
    ranked = rank_variants(scorer, OBJECTIVES[objective], code, space)
    assert len(ranked) == len(set(ranked)) == 33

    def value(prompt):
        return OBJECTIVES[objective].gradients(scorer.prompt_scorer, prompt[None], None)[0].sum().item()

    prompt = model.prompt_vectors(torch.tensor([code]))[0].detach()
    slopes = []
    for position, v in ranked:
        other = model.prompt_vectors(torch.tensor([(*code[:position], v, *code[position + 1 :])]))[0].detach()
        step = 1e-2 * (other - prompt)
        slopes.append((value(prompt + step) - value(prompt - step)) / 2e-2)
    assert slopes[0] < 0
    scale = max(map(abs, slopes))
    assert all(a < b + 0.01 * scale for a, b in zip(slopes, slopes[1:], strict=False))


def test_a_gradient_search_ends_where_no_neighbour_is_better(model, examples):
    scorer, space = CodeScorer(model, examples), task_code_space(model)
    result = BitwiseSearch(scorer, space, search_order="gradient", gradient_candidates=5, **QUIET).run()
    assert result.stopped == "local_optimum" and result.loss < result.starts[0].loss
    values = OBJECTIVES["normalized_loss"](scorer, torch.tensor(neighbours(result.code, space)))
    assert not any(is_better(value, result.loss) for value in values.tolist())
    codes = [tuple(e.code) for e in result.trace]
    assert len(codes) == len(set(codes)) == result.evaluations
    steps = {e.step for e in result.trace}
    assert result.gradients <= len(steps) + 1 and len(result.positions[0]) == len(steps - {-1})
    assert all(sum(e.step == step for e in result.trace) <= 5 for step in steps - {-1})


def test_the_first_step_tries_the_most_promising(model, examples):
    scorer, space = CodeScorer(model, examples), full_code_space(3, 12)
    search = BitwiseSearch(
        scorer, space, objective="loss", start_codes=[1, 2, 3], search_order="gradient", gradient_candidates=4, **QUIET
    )
    ranked = rank_variants(scorer, OBJECTIVES["loss"], (1, 2, 3), space)[:4]
    first = [e for e in search.run().trace if e.step == 0]
    assert [(e.position, e.code[e.position]) for e in first] == ranked


def test_several_gradient_starts_have_patience(model, examples):
    search = lambda **kwargs: BitwiseSearch(  # noqa: E731
        CodeScorer(model, examples), full_code_space(3, 12), num_starts=3, search_order="gradient", gradient_candidates=3, **QUIET,
        **kwargs,
    ).run()  # fmt: skip
    result = search()
    assert len(result.starts) == 3 and result.loss == min(best.loss for best in result.best_of_starts)
    assert result.stopped == "patience"
    assert search(gradient_patience=1).evaluations < result.evaluations < search(gradient_patience=9).evaluations


def test_gradients_need_an_objective_that_has_them(model, examples):
    for objective in ("accuracy", distance_to([1, 1, 1])):
        with pytest.raises(ValueError, match="has no gradients"):
            BitwiseSearch(
                CodeScorer(model, examples), full_code_space(3, 12), objective=objective, search_order="gradient"
            )


def test_a_budget_of_seconds(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(trial_runner.time, "monotonic", lambda: next(clock))
    result = BitwiseSearch(
        None,
        full_code_space(3, 6),
        objective=distance_to([5, 5, 5]),
        start_codes=[0, 0, 0],
        search_order="cyclic",
        max_search_seconds=2.5,
        **QUIET,
    ).run()
    assert result.stopped == "max_search_seconds"
    assert (result.evaluations, result.code) == (11, [5, 5, 0])  # the start and two steps


# ---------------------------------------------------------------------------------------------------- pruning


def answered_by(model, code, rows):
    """The examples with what the model answers under a code as their gold answers."""
    answers = CodeScorer(model, rows).predictions([code])[0].tolist()
    return [{**row, "answer": a, "labels": row["choice_ids"][a]} for row, a in zip(rows, answers, strict=True)]


def test_pruning_stops_a_code_that_can_only_draw_level(model):
    """By accuracy a start that is always right leaves nothing to win: one batch of examples is enough to see that."""
    rows = answered_by(model, [1, 2, 3], make_examples(30))
    scorer = CodeScorer(model, rows, token_budget=100)
    search = BitwiseSearch(scorer, full_code_space(3, 12), objective="accuracy", start_codes=[1, 2, 3], **PRUNED)
    result = search.run()
    assert result.loss == 0 and result.code == [1, 2, 3]
    assert result.pairs_pruned > 0.8 * 33 * 30


def test_pruning_is_left_out_where_it_saves_nothing(model):
    """Every code is about as bad as the next: portions would only make the batches smaller."""
    rows = make_examples(30)
    scorers = [CodeScorer(model, rows, token_budget=100) for _ in range(2)]
    with torch.no_grad():
        model.task_codebook.prompt_decoder.weight.mul_(1e-3)
    for scorer, prune in zip(scorers, (False, True), strict=True):
        sizes = []
        score = scorer.prompt_scorer._scores
        scorer.prompt_scorer._scores = lambda *args, sizes=sizes, score=score: (
            sizes.append(args[1].sum()) or score(*args)
        )
        BitwiseSearch(
            scorer, full_code_space(3, 12), objective="loss", prune=prune, max_evaluations=60, progress=False
        ).run()
        scorer.sizes = sizes
    assert scorers[0].sizes == scorers[1].sizes


@pytest.mark.parametrize("objective", ["normalized_loss", "loss", "accuracy"])
@pytest.mark.parametrize("seed", range(2))
def test_pruning_changes_no_decision(objective, seed, monkeypatch):
    monkeypatch.setattr(pruning, "WORTHWHILE", 0.0)
    model = make_model(seed=seed).eval()
    rows = answered_by(model, [1, 2, 3], make_examples(30, seed))
    kwargs = {"objective": objective, "start_codes": [[1, 2, 4], [9, 9, 9]], "seed": seed, "progress": False}
    plain_scorer, scorer = (CodeScorer(model, rows, token_budget=300) for _ in range(2))
    plain = BitwiseSearch(plain_scorer, full_code_space(3, 12), prune=False, **kwargs).run()
    pruned = BitwiseSearch(scorer, full_code_space(3, 12), prune=True, **kwargs).run()
    assert pruned.code == plain.code
    assert pruned.loss == pytest.approx(plain.loss, rel=1e-6)
    assert pruned.positions == plain.positions
    values = {tuple(e.code): e.value for e in plain.trace}
    for evaluation in pruned.trace:
        true = values[tuple(evaluation.code)]
        if evaluation.value is None:
            assert evaluation.at_least <= true * (1 + 1e-6) and evaluation.examples_left > 0
        else:
            assert evaluation.value == pytest.approx(true, rel=1e-6)
    pairs = scorer.prompt_scorer.pairs_scored
    assert pairs + pruned.pairs_pruned == plain_scorer.prompt_scorer.pairs_scored
    if objective != "loss" and seed == 0:  # under the other model codes hardly differ
        assert pruned.pairs_pruned > 0


# ---------------------------------------------------------------------------------------------------- progress


@pytest.fixture
def bars(monkeypatch):
    """The bars of the searches to come, as soon as they are shown."""
    shown = []

    class Noted(callbacks.ProgressBar):
        def on_search_begin(self, state, control):
            super().on_search_begin(state, control)
            shown.append(self.bar)

    monkeypatch.setattr(code_search, "ProgressBar", Noted)
    return shown


def watched(bars, objective, **kwargs):
    """A search, and the bar's (codes shown, total) before every batch."""
    seen = []

    def watching(scorer, codes):
        seen.append((bars[-1].n, bars[-1].total))
        return objective(scorer, codes)

    search = BitwiseSearch(None, full_code_space(4, 6), objective=watching, **kwargs)
    return search, seen


@pytest.mark.parametrize("order", ["random", "cyclic"])
def test_what_is_left_is_exact_once_nothing_better_turns_up(order, bars, capsys):
    search, seen = watched(bars, distance_to([3, 1, 4, 1]), start_codes=[0, 1, 4, 1], search_order=order)
    result = search.run()
    assert seen[0] == (0, None) and seen[1] == (1, 21)  # the start, and five other values of four positions
    last = next(i for i, e in enumerate(result.trace) if e.value == 0)
    assert {total for known, total in seen if known > last} == {result.evaluations}
    assert all(known < total for known, total in seen[1:])
    bar = capsys.readouterr().err
    assert f"{result.evaluations} of at most {result.evaluations} if none is better [" in bar and "best=0.0000" in bar


def test_what_is_left_holds_for_the_coming_starts_too(bars):
    def two_optima(scorer, codes):
        return torch.minimum(distance_to([0, 0, 0, 0])(None, codes), 1 + distance_to([5, 5, 5, 5])(None, codes))

    search, seen = watched(bars, two_optima, start_codes=[[0, 0, 0, 0], [5, 5, 5, 5]])
    result = search.run()
    assert {total for _, total in seen[1:]} == {result.evaluations} == {2 + 20 + 20}


def test_a_budget_bounds_what_is_left(bars):
    search, seen = watched(bars, distance_to([0, 0, 0, 0]), start_codes=[0, 0, 0, 0], max_evaluations=9)
    search.run()
    assert {total for _, total in seen} == {9}


def test_codes_of_an_earlier_run_do_not_count_as_speed(tmp_path, bars):
    def run(limit):
        search, seen = watched(bars, distance_to([3, 1, 4, 1]), start_codes=[0, 0, 0, 0], max_evaluations=limit)
        search.trace_path = tmp_path / "trace.jsonl"
        search._get_header = lambda: {}  # there is no model to take fingerprints of
        return search.run(), bars[-1]

    run(12)
    result, bar = run(40)
    assert (bar.initial, bar.n) == (12, result.evaluations) and bar.n > 12


def test_the_first_time_that_the_bar_shows_is_that_of_all_codes_so_far(bars, capsys):
    """Shown after the first of many codes that were evaluated together, a bar would take their time for that of one."""

    def slow(scorer, codes):
        time.sleep(0.01 * len(codes))
        return distance_to([3, 1, 4, 1])(scorer, codes)

    starts = [[a, b, 0, 0] for a in range(6) for b in range(6)]
    BitwiseSearch(None, full_code_space(4, 6), objective=slow, start_codes=starts, max_evaluations=72).run()
    shown = re.findall(r"(\d+) of at most 72 if none is better \[[\d:]+<([\d:?]+)", capsys.readouterr().err)
    assert dict(shown)["36"] == "00:00"  # 36 codes took 0.36 s: as much again is left


# ------------------------------------------------------------------------------------------------------- trace


def trace_search(path, model, rows, **kwargs):
    scorer = CodeScorer(model, rows, token_budget=200)
    kwargs = {"num_starts": 2, "trace_path": path, **QUIET, **kwargs}
    return BitwiseSearch(scorer, task_code_space(model), **kwargs), scorer


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"prune": True}, {"search_order": "gradient", "gradient_candidates": 5}],
    ids=["plain", "prune", "gradient"],
)
def test_a_trace_cut_anywhere_is_completed(tmp_path, model, examples, kwargs):
    path = tmp_path / "trace.jsonl"
    search, _ = trace_search(path, model, examples, **kwargs)
    expected = search.run()
    content = path.read_bytes()
    assert len(content.splitlines()) == 1 + len(expected.trace)
    for cut in range(0, len(content), 2111):
        path.write_bytes(content[:cut])
        finished = max(0, content[:cut].count(b"\n") - 1)
        search, scorer = trace_search(path, model, examples, **kwargs)
        result = search.run()
        assert (result.code, result.positions) == (expected.code, expected.positions)
        assert result.loss == pytest.approx(expected.loss, rel=1e-6)
        assert [e.code for e in result.trace] == [e.code for e in expected.trace]
        assert scorer.evaluations <= len(expected.trace) - finished
        assert result.gradients == expected.gradients
        assert len(path.read_bytes().splitlines()) == 1 + len(expected.trace)


def test_a_finished_trace_needs_no_model(tmp_path, model, examples):
    first, _ = trace_search(tmp_path / "t.jsonl", model, examples)
    again, scorer = trace_search(tmp_path / "t.jsonl", model, examples)
    assert first.run() == again.run()
    assert scorer.evaluations == 0


SCRIPT = """
import sys, time
from search import BitwiseSearch, CodeScorer
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("shared_models", sys.argv[2] + "/conftest.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
model = module.make_model().eval()
scorer = CodeScorer(model, module.make_examples())
BitwiseSearch(scorer, module.full_code_space(3, 12), trace_path=sys.argv[1], num_starts=7, progress=False).run().save(sys.argv[1] + ".json")
"""


@pytest.mark.slow
def test_killed_runs_end_with_the_same_result(tmp_path):
    """SIGKILL at several moments; each next run goes on from there."""
    from search import BitwiseSearchResult

    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}

    def start(name):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / name), str(here)], env=environment)

    assert start("whole").wait(120) == 0
    total = len((tmp_path / "whole").read_bytes().splitlines())
    for part in (0.2, 0.6):
        process = start("killed")
        path = tmp_path / "killed"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.read_bytes().count(b"\n") > part * total:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.wait(60)
    assert start("killed").wait(120) == 0
    whole, killed = (BitwiseSearchResult.load(tmp_path / f"{name}.json") for name in ("whole", "killed"))
    assert [e.code for e in killed.trace] == [e.code for e in whole.trace]
    assert (killed.code, killed.loss) == (whole.code, pytest.approx(whole.loss, rel=1e-6))
    codes = [json.loads(line)["code"] for line in (tmp_path / "killed").read_text().splitlines()[1:]]
    assert len(codes) == len({tuple(code) for code in codes}) == whole.evaluations


def test_a_trace_of_something_else_is_refused(tmp_path, model, examples):
    path = tmp_path / "trace.jsonl"
    trace_search(path, model, examples)[0].run()
    before = path.read_bytes()
    for other, message in [
        (trace_search(path, make_model(seed=5), examples), "model: .* there, .* here"),
        (trace_search(path, model, examples[1:]), "data: "),
        (trace_search(path, model, examples, seed=8), r"\(seed: 42 there, 8 here\)"),
        (trace_search(path, model, examples, objective="loss"), 'objective: "normalized_loss" there, "loss" here'),
    ]:
        with pytest.raises(ValueError, match=message):
            other[0].run()
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("kwargs", "used_before"),
    [({}, True), ({"prune": True}, False), ({"search_order": "gradient"}, False)],
    ids=["plain", "prune", "gradient"],
)
def test_equal_searches_leave_equal_traces_whatever_the_clock_says(tmp_path, model, monkeypatch, kwargs, used_before):
    """Batches that grow by measured time would round otherwise from run to run."""
    monkeypatch.setitem(token_budget.FIRST, "cpu", 60)
    rows = make_examples(12)
    for name, worthwhile in (("slow", 100.0), ("fast", -100.0)):  # no growth helps; every growth helps
        monkeypatch.setattr(token_budget, "WORTHWHILE", worthwhile)
        scorer = CodeScorer(model, rows)
        if used_before:
            best_training_code(scorer)
        options = {"trace_path": tmp_path / name, "max_evaluations": 30, **QUIET, **kwargs}
        BitwiseSearch(scorer, task_code_space(model), **options).run()
    assert (tmp_path / "slow").read_bytes() == (tmp_path / "fast").read_bytes()


@pytest.mark.parametrize("damage", ["a line that is no trial", "bytes that are no text", "two lines are missing"])
def test_what_is_damaged_in_a_trace_is_evaluated_again(tmp_path, model, examples, damage):
    path = tmp_path / "trace.jsonl"
    expected = trace_search(path, model, examples)[0].run()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    other = {
        "a line that is no trial": [b'{"start": 0}\n', *lines[4:]],
        "bytes that are no text": [b"\xff\x00\n", *lines[4:]],
    }
    path.write_bytes(b"".join([*lines[:3], *other.get(damage, lines[5:])]))
    again, scorer = trace_search(path, model, examples)
    result = again.run()
    assert (result.code, [e.code for e in result.trace]) == (expected.code, [e.code for e in expected.trace])
    assert scorer.evaluations == expected.evaluations - 2  # the two before the damage are kept
    assert [json.loads(line)["code"] for line in path.read_bytes().splitlines()[1:]] == [e.code for e in result.trace]
    _, untouched = again, path.read_bytes()
    finished, scorer = trace_search(path, model, examples)
    finished.run()
    assert scorer.evaluations == 0 and path.read_bytes() == untouched


def test_what_is_no_trace_of_this_version_is_left_alone(tmp_path, model, examples):
    path = tmp_path / "trace.jsonl"
    for content, message in [
        (b"notes\n", "is no search trace"),
        (b'{"model": "a", "data": "b", "objective": "loss"}\n', "was written by an older version"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            trace_search(path, model, examples)[0].run()
        assert path.read_bytes() == content


def test_a_longer_search_goes_on_from_the_trace_of_a_shorter_one(tmp_path, model, examples):
    whole = trace_search(tmp_path / "whole", model, examples)[0].run()
    path = tmp_path / "trace"
    assert trace_search(path, model, examples, max_evaluations=12)[0].run().stopped == "max_evaluations"
    longer, scorer = trace_search(path, model, examples)
    assert [e.code for e in longer.run().trace] == [e.code for e in whole.trace]
    assert scorer.evaluations == whole.evaluations - 12


def test_ctrl_c_leaves_a_result():
    calls = 0

    def objective(scorer, codes):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return distance_to([3, 1, 4])(scorer, codes)

    result = BitwiseSearch(
        None, full_code_space(3, 6), objective=objective, start_codes=[0, 0, 0], search_order="cyclic", **QUIET
    ).run()
    assert result.stopped == "interrupted"
    assert result.code == [3, 1, 0]


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code_space": [[1], []]}, "at least one value for every position"),
        ({"code_space": [[1], [2]]}, "3 positions, but the code space has 2"),
        ({"search_order": "best"}, "no search order 'best'"),
        ({"search_epochs": 0}, "`search_epochs` must be at least 1"),
        ({"num_starts": 0}, "`num_starts` must be at least 1"),
        ({"max_evaluations": 0}, "`max_evaluations` must be at least 1"),
        ({"gradient_candidates": 0}, "`gradient_candidates` must be at least 1"),
        ({"objective": "f1"}, "no objective 'f1'"),
        ({"start_codes": [[0.5, 1, 2]]}, "must be integers"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"code_space": full_code_space(3, 4), "objective": distance_to([1, 1, 1]), "start_codes": [0, 0, 0]}
    with pytest.raises(ValueError, match=message):
        BitwiseSearch(None, **{**arguments, **change})


def test_unlabelled_examples_are_refused(model):
    scorer = CodeScorer(model, make_examples(labelled=False))
    with pytest.raises(ValueError, match="needs the answer of every example"):
        BitwiseSearch(scorer, task_code_space(model), **QUIET).run()


def test_an_objective_that_is_not_a_number():
    search = BitwiseSearch(
        None, full_code_space(2, 3), objective=lambda _, codes: codes[:, 0] * float("nan"), start_codes=[0, 0], **QUIET
    )
    with pytest.raises(ValueError, match=r"objective of code \[0, 0\] is nan"):
        search.run()
