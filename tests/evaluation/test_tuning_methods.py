import pytest
import torch

from evaluation.dataset_run import DatasetRun
from evaluation.settings import TUNING_METHODS, HeldOutSettings, TuningSettings
from evaluation.tuning_methods import tune_and_score
from search import SearchConfig, load_prompt_adapter


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_tuning_learns_and_leaves_the_model_as_it_was(judge_and_shots, method, monkeypatch, tmp_path):
    judge, few_shot = judge_and_shots
    monkeypatch.setattr("evaluation.weight_tuning.LEARNING_RATES", {"lora": 0.03, "full_tuning": 0.01})
    before = {name: value.clone() for name, value in judge.model.state_dict().items()}
    tuning = TuningSettings(tuning_steps=60)
    run = DatasetRun(judge.model, "", [], HeldOutSettings(), SearchConfig(), tuning, seed=1, folder=tmp_path)
    arguments = (method, judge, few_shot, run, tmp_path / "adapter", judge.model.task_codes()[0].tolist())
    score = tune_and_score(*arguments)
    assert (score.method, score.labelled, score.seed) == (TUNING_METHODS[method], 16, 1)
    assert 0 < score.evaluations <= 60
    after = judge.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = tune_and_score(*arguments)
    assert (again.accuracy, again.evaluations) == (score.accuracy, score.evaluations)
    if method in ("lora", "full_tuning"):  # the first word tells the label
        assert score.accuracy > judge.score_raw_lm(0).accuracy
        assert not (tmp_path / "adapter").exists()
    else:
        kept = judge.scored(score.method, judge.answer_with_prompt(load_prompt_adapter(tmp_path / "adapter")), 1)
        assert (kept.accuracy, kept.predicted_shares) == (score.accuracy, score.predicted_shares)
