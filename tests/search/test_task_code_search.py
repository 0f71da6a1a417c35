import pytest
import torch

from search import CodeScorer, best_training_code
from search.task_code_search import first_best

from .conftest import make_examples


def test_the_recorded_discrete_search(reference_model, reference_examples, discrete_reference):
    scorer = CodeScorer(reference_model, reference_examples)
    result = best_training_code(scorer, objective="loss")
    assert [row.code for row in result.table] == discrete_reference["codes"]
    for key in ("summed_loss_by_code", "summed_loss_by_task_id"):
        assert [row.loss for row in result.table] == pytest.approx(discrete_reference[key], abs=1e-4)
    assert result.task_name == discrete_reference["best_task_name"]
    assert result.code == discrete_reference["codes"][discrete_reference["best_task_id"]]
    assert result.loss == pytest.approx(discrete_reference["best_loss"], abs=1e-4)


def test_the_table_holds_what_one_pass_gives(model, examples):
    scorer = CodeScorer(model, examples)
    result = best_training_code(scorer)
    codes = model.task_codes()
    assert result.objective == "normalized_loss"
    assert result.loss == min(row.loss for row in result.table) == result.table[0].loss or result.task_name != "task_0"
    assert [row.task_name for row in result.table] == model.config.task_names
    assert [row.code for row in result.table] == codes.tolist()
    assert [row.accuracy for row in result.table] == scorer.accuracies(codes).tolist()
    assert [row.gold_loss for row in result.table] == scorer.gold_losses(codes).tolist()
    assert [row.normalized_loss for row in result.table] == [row.loss for row in result.table]
    assert scorer.prompt_scorer.pairs_scored == len(set(map(tuple, codes.tolist()))) * len(examples)
    assert result.best_by_accuracy().accuracy == max(row.accuracy for row in result.table)


def test_the_first_of_equals_wins(model, examples, codes):
    scorer = CodeScorer(model, examples)
    result = best_training_code(scorer, codes[[3, 3, 3]], ["a", "b", "c"])
    assert result.task_name == "a"
    assert first_best([2.0, 1.0, 1.0 - 1e-9, 0.5, 0.5]) == 3


def test_a_free_form_task(model, codes):
    rows = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in make_examples()]
    result = best_training_code(CodeScorer(model, rows), codes, list("abcdef"))
    assert result.objective == "loss"
    assert result.loss == min(row.gold_loss for row in result.table)
    assert result.table[0].accuracy is None
    with pytest.raises(ValueError, match="No accuracies"):
        result.best_by_accuracy()


def test_unlabelled_examples_are_refused(model):
    with pytest.raises(ValueError, match="needs the answer of every example"):
        best_training_code(CodeScorer(model, make_examples(labelled=False)))


def test_names_that_do_not_fit(model, examples, codes):
    with pytest.raises(ValueError, match="6 codes, but 1 task names"):
        best_training_code(CodeScorer(model, examples), codes, ["a"])


def test_a_callable_objective(model, examples, codes):
    scorer = CodeScorer(model, examples)
    result = best_training_code(scorer, codes, objective=lambda scorer, codes: -codes.sum(1).double())
    assert result.code == codes[codes.sum(1).argmax()].tolist()
    assert torch.tensor([row.loss for row in result.table]).tolist() == (-codes.sum(1).double()).tolist()
