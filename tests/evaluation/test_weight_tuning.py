import torch

from evaluation.weight_tuning import tune_weights


def test_the_weights_of_least_loss_on_the_examples_held_back_stay(judge_and_shots):
    judge, few_shot = judge_and_shots
    model = judge.model.backbone.requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # At this rate every step makes it worse, so that the start is the best and three looks at it are enough.
    assert tune_weights(model, few_shot, held_back=4, learning_rate=10.0, steps=100, seed=0) == 30
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    tune_weights(model, few_shot, held_back=0, learning_rate=10.0, steps=2, seed=0)
    assert not all(torch.equal(before[name], value) for name, value in model.state_dict().items())
