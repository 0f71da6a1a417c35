"""The classifier beside a code: states of texts, answers to held-out rows, and when it is said to be better."""

import numpy as np
import pytest
import torch

from prediction import TaskSolver
from prediction.linear_probe import LinearProbe, answer_held_out, compute_text_states
from search import CodeScorer


def test_states_are_means_over_the_tokens_of_each_text(solver):
    texts = [[12, 13, 14, 1], [20, 1], [*range(5, 40), 1]]
    states = compute_text_states(solver.model, texts)
    encoder = solver.model.backbone.get_encoder()
    for text, state in zip(texts, states, strict=True):
        with torch.no_grad():
            alone = encoder(input_ids=torch.tensor([text])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(state, alone.numpy(), atol=1e-5)


def test_states_of_a_decoder_only_model(tiny_causal_model):
    model = tiny_causal_model("llama").eval()
    texts = [[5, 6, 7, 8], [9, 10]]
    states = compute_text_states(model, texts)
    for text, state in zip(texts, states, strict=True):
        with torch.no_grad():
            alone = model.backbone.get_decoder()(input_ids=torch.tensor([text])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(state, alone.numpy(), atol=1e-5)


def test_answers_come_from_the_other_folds():
    generator = np.random.default_rng(0)
    answers = np.arange(60) % 3
    states = np.eye(3)[answers] + 0.1 * generator.normal(size=(60, 3))
    fold = np.arange(60) // 20
    assert (answer_held_out(states, answers, fold) == answers).all()
    only_there = (answers == 2) * 1  # told apart in one fold, where the others hold one answer
    fold = only_there
    assert (answer_held_out(states, only_there, fold) != only_there).all()


def test_better_is_more_than_chance():
    assert LinearProbe(0.9, wins=10, losses=1).is_better
    assert not LinearProbe(0.6, wins=5, losses=3).is_better
    assert not LinearProbe(0.5, wins=0, losses=0).is_better


def test_fit_says_where_a_classifier_would_do_better(make_solver, quick):
    """Labels that the first word tells, and a model whose weights are random."""
    solver = make_solver()
    labels = [i % 2 for i in range(40)]
    texts = [" ".join([f"w{30 + 4 * label}"] * 3 + [f"w{12 + i % 9}"]) for i, label in enumerate(labels)]
    result = solver.fit(texts, labels, answers=["w10", "w11"], name="first word", **quick)
    assert result.probe_accuracy == 1
    assert "  linear probe 100.0%" in str(result)
    assert any("classifier on `solver.embed(texts)`" in warning for warning in result.warnings)
    states = solver.embed(texts[:3], progress=False)
    assert states.shape == (3, solver.model.config.prompt_dim) and states.dtype == np.float32
    np.testing.assert_array_equal(states, solver.embed(texts[:3], "first word", progress=False))


def test_answers_under_every_training_code(fitted, reviews):
    texts, _ = reviews
    found = fitted.embed_answers(texts, "stars", progress=False)
    codes = fitted.model.task_codes()
    assert found.shape == (24, len(codes)) and found.dtype == np.float32
    answers = [fitted.tokenizer(answer).input_ids for answer in ("w21 w22", "w20")]  # of 1 and 5
    examples = [{"input_ids": fitted.tokenizer(text).input_ids, "choice_ids": answers} for text in texts]
    scores = CodeScorer(fitted.model, examples).choice_log_likelihoods(codes)
    np.testing.assert_allclose(found, (scores[..., 1] - scores[..., 0]).T.numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="has no classes"):
        fitted.embed_answers(texts, "glue_mrpc")


def test_no_classifier_where_there_is_nothing_to_hold_it_against(make_solver, reviews, quick):
    texts, labels = reviews
    solver: TaskSolver = make_solver()
    assert solver.fit(texts, labels, name="no estimate", **{**quick, "folds": 0}).probe_accuracy is None
    assert solver.fit(texts, targets=labels, name="free", **quick).probe_accuracy is None
