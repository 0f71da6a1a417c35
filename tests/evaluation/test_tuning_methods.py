import pytest
import torch

from evaluation.protocol import Draws, Judge, held_out_examples
from evaluation.tuning_methods import METHODS, TuningSettings, score_tuning, tune_weights
from search import load_prompt_adapter


@pytest.fixture
def judge_and_shots(tiny_ctr_model, builder, tasks, rows):
    model = tiny_ctr_model()
    (examples,) = held_out_examples(tasks[:1], rows, builder, Draws(16, 0), seed=0)
    return Judge(model, examples, builder), examples.few_shot


@pytest.mark.parametrize("method", METHODS)
def test_tuning_learns_and_leaves_the_model_as_it_was(judge_and_shots, method, monkeypatch, tmp_path):
    judge, few_shot = judge_and_shots
    monkeypatch.setattr("evaluation.tuning_methods.LEARNING_RATES", {"lora": 0.03, "full_tuning": 0.01})
    before = {name: value.clone() for name, value in judge.model.state_dict().items()}
    settings = TuningSettings((method,), steps=60)
    arguments = (method, judge, few_shot, settings, 1, tmp_path / "adapter", judge.model.task_codes()[0].tolist())
    score = score_tuning(*arguments)
    assert (score.method, score.labelled, score.seed) == (METHODS[method], 16, 1)
    assert 0 < score.evaluations <= 60
    after = judge.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = score_tuning(*arguments)
    assert (again.accuracy, again.evaluations) == (score.accuracy, score.evaluations)
    if method in ("lora", "full_tuning"):  # the first word tells the label
        assert score.accuracy > judge.raw_lm(0).accuracy
        assert not (tmp_path / "adapter").exists()
    else:
        kept = judge.scored(score.method, judge.answers_behind(load_prompt_adapter(tmp_path / "adapter")), 1)
        assert (kept.accuracy, kept.predicted_shares) == (score.accuracy, score.predicted_shares)


def test_the_weights_of_least_loss_on_the_examples_held_back_stay(judge_and_shots):
    judge, few_shot = judge_and_shots
    model = judge.model.backbone.requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # At this rate every step makes it worse, so that the start is the best and three looks at it are enough.
    assert tune_weights(model, few_shot, held_back=4, learning_rate=10.0, steps=100, seed=0) == 30
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    tune_weights(model, few_shot, held_back=0, learning_rate=10.0, steps=2, seed=0)
    assert not all(torch.equal(before[name], value) for name, value in model.state_dict().items())
