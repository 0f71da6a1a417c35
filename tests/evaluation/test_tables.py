from evaluation.tables import (
    format_markdown_table,
    make_accuracy_table,
    make_cost_table,
    make_recorded_table,
    make_spread_table,
)


def test_cells_are_means_over_templates_with_the_deviation_over_seeds(score):
    scores = [
        score(accuracy=0.4, template="a", seed=0),
        score(accuracy=0.6, template="b", seed=0),  # mean of seed 0: 0.5
        score(accuracy=0.7, template="a", seed=1),
        score(accuracy=0.7, template="b", seed=1),
        score(method="Bitwise Search", accuracy=0.9, seed=0),
        score(task="cb", accuracy=0.3, seed=0),
        score(task="cb", accuracy=0.1, seed=1),
    ]
    assert make_accuracy_table(scores) == [
        ["task", "raw LM", "Bitwise Search"],
        ["rte", "60.0 ± 14.1", "90.0"],
        ["cb", "20.0 ± 14.1", "–"],
        ["**mean**", "40.0 ± 0.0", "90.0 (1 of 2 tasks)"],  # seeds: (0.5 + 0.3) / 2 and (0.7 + 0.1) / 2
    ]


def test_what_seeds_are_nothing_to_has_no_deviation(score):
    scores = [score(task=task, seed=seed, accuracy=0.1) for task in "ab" for seed in (0, 1)]
    scores += [score(task=task, seed=seed, method="LoRA", labelled=32) for task in "ab" for seed in (0, 1)]
    assert [row[1:] for row in make_accuracy_table(scores)[1:]] == [["10.0", "50.0 ± 0.0"]] * 3
    one_split = [*scores, score(task="a", seed=2, accuracy=0.4)]  # whose evaluation rows depend on the draw
    assert make_accuracy_table(one_split)[1][1] == "20.0 ± 17.3"


def test_cells_are_escaped():
    assert format_markdown_table([["a|b"], ["c"]]) == ["| a\\|b |", "|---|", "| c |"]


def test_spread_over_templates_has_quartiles_and_leaves_out_what_has_one_template(score):
    scores = [
        score(template=name, accuracy=value) for name, value in zip("abcde", (0.1, 0.2, 0.4, 0.8, 1.0), strict=True)
    ]
    scores += [score(method="majority class", template=name) for name in "ab"] + [score(method="Code Ensemble")]
    header, row = make_spread_table(scores)
    assert dict(zip(header, row, strict=True)) == {
        "task": "rte", "method": "raw LM", "templates": "5", "mean": "50.0", "lowest": "10.0", "25%": "20.0",
        "median": "40.0", "75%": "80.0", "highest": "100.0",
    }  # fmt: skip


def test_a_choice_of_templates_that_differs_between_seeds_is_no_spread(score):
    assert (
        make_spread_table([score(template="a", seed=0), score(template="b", seed=1), score(template="b", seed=2)])
        == []
    )
    assert make_spread_table([score(template="a", seed=0), score(template="b", seed=1)]) == []


def test_costs_are_means_and_free_methods_are_left_out(score):
    scores = [score(), *(score(method="LoRA", seed=i, labelled=32, evaluations=10 * i, seconds=i) for i in (1, 2))]
    assert make_cost_table(scores)[1:] == [["LoRA", "32", "0", "15", "1.5"]]


def test_recorded_results_stand_beside_sets_that_have_some(score):
    assert make_recorded_table([score(task="mine")]) == []
    rows = make_recorded_table([score(task="super_glue/cb"), score(task="super_glue/rte"), score(task="mine")])
    assert rows[0][1] == "Code Ensemble (authors', T5-large)"
    assert rows[1:] == [
        ["super_glue/cb", "87.5", "60.7", "78.6"],
        ["super_glue/rte", "80.5", "78.6", "81.2"],
        ["**mean**", "84.0", "69.7", "79.9"],
    ]
