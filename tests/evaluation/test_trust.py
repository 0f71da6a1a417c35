import pytest

from evaluation.report import format_report
from evaluation.terminal import print_table
from evaluation.trust import assess_methods, describe_trust, make_trust_table, select_main_methods, summarize_trust


@pytest.fixture
def scores(score):
    """Two methods and the raw LM on one task, with two seeds and two templates."""
    beside = {"majority class": [30, 5], "raw LM": [12, 10]}
    made = [
        score(method="Bitwise Search", accuracy=accuracy, seed=seed, template=template, labelled=32, beside=beside)
        for seed, accuracy in ((0, 0.8), (1, 0.7))
        for template in "ab"
    ]
    return [score(method="raw LM", accuracy=0.73, beside={"majority class": [28, 5]}), *made]


def test_counts_are_averaged_over_templates_and_seeds(scores):
    _, bitwise = assess_methods(scores)
    assert (bitwise.accuracies, bitwise.num_rows) == ([0.8, 0.7], 100)
    assert (bitwise.comparisons["majority class"].wins, bitwise.comparisons["majority class"].losses) == (30, 5)
    assert make_trust_table(scores)[1:] == [
        ["rte", "raw LM", "73.0", "63.6 to 80.7", "73.0", "better (+23.0)", "–"],
        [
            "rte", "Bitwise Search", "75.0", "65.7 to 82.5", "80.0, 70.0", "better (+25.0)",
            "not distinguishable (+2.0)",
        ],
    ]  # fmt: skip


def test_a_verdict_is_about_the_method_whose_code_is_kept(score, scores):
    ensemble = score(method="Code Ensemble", accuracy=0.99, beside={"majority class": [40, 0]})
    training = score(method="training code by loss", task="cb", beside={"majority class": [9, 9]})
    lora = score(method="LoRA", task="cb", beside={"majority class": [5, 30]})
    main = select_main_methods(assess_methods([training, ensemble, lora, *scores]))
    assert [(each.task, each.method) for each in main] == [("cb", "LoRA"), ("rte", "Bitwise Search")]
    (sentence,) = describe_trust(scores)
    assert sentence == (
        "rte: Bitwise Search: 75.0% (65.7 to 82.5 on 100 rows), better than the majority class (+25.0 points); not "
        "distinguishable from the raw LM (+2.0 points)."
    )


def test_what_learned_nothing_is_said_so(score, capsys, tmp_path):
    found = score(
        method="Bitwise Search", accuracy=0.0, labelled=32, few_shot_loss=1.07, guessing_loss=1.099,
        beside={"majority class": [0, 40], "raw LM": [0, 0]},
    )  # fmt: skip
    verdict, guessing, one_answer = describe_trust([found])
    assert "0.0% (0.0 to 3.7 on 100 rows)" in verdict and "worse than the majority class" in verdict
    assert guessing.startswith(
        "Warning: rte, Bitwise Search: the loss on the labeled examples is 1.070, no better than"
    )
    assert one_answer.endswith("answer 2 of 2 is given to 100% of the rows, whatever they say.")
    print_table([found], tmp_path)
    assert "no better than guessing" in " ".join(capsys.readouterr().out.split())
    text = "\n".join(format_report([found], {}))
    assert "## Whether to trust it" in text and f"- {guessing}" in text


def test_verdicts_on_many_tasks_are_counted(score, capsys, tmp_path):
    counts = [[40, 5]] * 4 + [[20, 15]] * 2 + [[0, 30]]
    scores = [
        score(task=f"t{i}", method="LoRA", accuracy=0.9, beside={"majority class": pair})
        for i, pair in enumerate(counts)
    ]
    assert summarize_trust(scores) == [
        "Beside the majority class, of 7 tasks: better on 4, not distinguishable on 2, worse on 1."
    ]
    print_table(scores, tmp_path)
    assert "better on 4" in capsys.readouterr().out


def test_scores_of_older_reports_have_no_verdict(score):
    assert describe_trust([score()]) == [] and make_trust_table([score()]) == []
    assert "trust" not in "\n".join(format_report([score()], {}))
