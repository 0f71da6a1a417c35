import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import T5Config, T5ForConditionalGeneration

from modeling_ctr import CTRForConditionalGeneration
from search import CodeScorer, PromptScorer
from search.scoring.code_scorer import first_argmax
from search.scoring.encoder_decoder import EncoderDecoderReader

from ..conftest import EOS, bart_config, make_examples, make_model


def plain_log_likelihood(model, row, target, **task):
    """One input, one target, no padding, no cache: the definition."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([target]), **task).logits[0]
    return logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).sum().item()


@pytest.mark.parametrize("text_config", [None, bart_config()], ids=["t5", "bart"])
def test_choice_log_likelihoods_and_gold_losses_by_definition(text_config, examples, codes):
    model = make_model(text_config).eval()
    scorer = CodeScorer(model, examples)
    scores = scorer.choice_log_likelihoods(codes)
    losses = scorer.gold_losses_per_example(codes)
    assert scores.shape == (6, 9, 4)
    assert scores.dtype == losses.dtype == torch.float64
    for c, code in enumerate(codes):
        for e, row in enumerate(examples):
            expected = [plain_log_likelihood(model, row, choice, task_code=code) for choice in row["choice_ids"]]
            expected += [-math.inf] * (4 - len(expected))
            assert scores[c, e].tolist() == pytest.approx(expected, rel=1e-5)
            assert losses[c, e].item() == pytest.approx(-expected[row["answer"]], rel=1e-5)
    fresh = CodeScorer(model, examples).gold_losses(codes)  # without the choices' scores to take them from
    assert fresh.tolist() == pytest.approx(losses.sum(1).tolist(), rel=1e-6)


@pytest.mark.parametrize("budget", [1, 17, 60, 10**6])
def test_the_token_budget_changes_nothing(model, examples, codes, budget):
    expected, scorer = CodeScorer(model, examples), CodeScorer(model, examples, token_budget=budget)
    torch.testing.assert_close(scorer.gold_losses(codes), expected.gold_losses(codes), rtol=1e-5, atol=0)
    scores, expected_scores = scorer.choice_log_likelihoods(codes), expected.choice_log_likelihoods(codes)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-5, atol=0)


def test_codes_and_order_of_examples(model, examples, codes):
    scorer = CodeScorer(model, examples)
    scores = scorer.choice_log_likelihoods(codes)
    assert (scores[0] - scores[1]).nan_to_num().abs().max() > 0.1  # two codes, two results
    backwards = CodeScorer(model, examples[::-1]).choice_log_likelihoods(codes.flip(0))
    torch.testing.assert_close(backwards, scores.flip(0, 1), rtol=1e-5, atol=0)
    picked = CodeScorer(model, examples).gold_losses_per_example(codes, torch.tensor([7, 2]))
    torch.testing.assert_close(picked, scorer.gold_losses_per_example(codes)[:, [7, 2]], rtol=1e-5, atol=0)


def test_a_data_set_scores_as_a_list(model, examples, codes):
    scores = CodeScorer(model, Dataset.from_list(examples)).choice_log_likelihoods(codes)
    torch.testing.assert_close(scores, CodeScorer(model, examples).choice_log_likelihoods(codes), rtol=0, atol=0)


def test_equal_choices_score_exactly_equal(model, examples, codes):
    scores = CodeScorer(model, examples, token_budget=40).choice_log_likelihoods(codes)
    assert torch.equal(scores[:, 0, 0], scores[:, 0, 2])


def test_the_mode_of_every_module_is_restored(examples, codes):
    model = make_model().train()
    model.backbone.encoder.eval()
    before = [module.training for module in model.modules()]
    scorer = CodeScorer(model, examples)
    first = scorer.gold_losses(codes)
    assert [module.training for module in model.modules()] == before
    torch.testing.assert_close(CodeScorer(model, examples).gold_losses(codes), first, rtol=0, atol=0)  # no dropout


def test_the_mode_is_restored_after_an_error(examples, codes):
    model = make_model().train()
    with pytest.raises(TypeError):
        CodeScorer(model, examples).generate(codes, max_new_tokens="many")
    assert model.training


def test_no_gradients_and_no_random_numbers(examples, codes):
    model = make_model().train()
    state = torch.random.get_rng_state()
    assert not CodeScorer(model, examples).gold_losses(codes).requires_grad
    assert torch.equal(torch.random.get_rng_state(), state)


def test_nothing_is_computed_twice(model, examples, codes):
    scorer = CodeScorer(model, examples)
    pairs = lambda: scorer.prompt_scorer.pairs_scored  # noqa: E731
    first = scorer.choice_log_likelihoods(codes)
    assert (scorer.evaluations, pairs()) == (6, 54)
    assert torch.equal(scorer.choice_log_likelihoods(codes.flip(0)), first.flip(0))
    scorer.accuracies(codes)
    scorer.gold_losses(codes)  # known from the choices
    assert (scorer.evaluations, pairs()) == (6, 54)
    new = torch.cat([codes[:2], torch.tensor([[0, 0, 0], [0, 0, 0]])])
    scorer.choice_log_likelihoods(new)
    assert (scorer.evaluations, pairs()) == (7, 63)
    scorer.choice_log_likelihoods(torch.tensor([[1, 1, 1]]), torch.tensor([3, 4]))
    assert (scorer.evaluations, pairs()) == (8, 65)
    scorer.choice_log_likelihoods(torch.tensor([[1, 1, 1]]))
    assert (scorer.evaluations, pairs()) == (8, 72)


def test_one_encoder_pass_for_all_choices(model, examples, codes):
    tokens = 0

    def count(module, arguments, keywords):
        nonlocal tokens
        tokens += keywords["inputs_embeds"].shape[0]

    handle = model.backbone.encoder.register_forward_pre_hook(count, with_kwargs=True)
    CodeScorer(model, examples).choice_log_likelihoods(codes)
    handle.remove()
    assert tokens == 6 * 9


def test_cross_attention_keys_once_for_all_choices(model, examples, codes):
    positions = 0

    def count(module, arguments):
        nonlocal positions
        positions += arguments[0].shape[0]

    layer = model.backbone.decoder.block[0].layer[1].EncDecAttention.k
    handle = layer.register_forward_pre_hook(count)
    CodeScorer(model, examples).choice_log_likelihoods(codes)
    handle.remove()
    assert positions == 6 * 9


def test_accuracies_take_the_first_of_equal_choices(model, examples, codes):
    scorer = CodeScorer(model, examples)
    scores = scorer.choice_log_likelihoods(codes).numpy()
    answers = np.array([row["answer"] for row in examples])
    assert scorer.accuracies(codes).tolist() == pytest.approx((scores.argmax(2) == answers).mean(1).tolist())
    assert first_argmax(torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [1, 0]


def test_a_model_without_prompt(model, examples):
    """The same language model alone, inside a CTR model and on its own."""
    scorer = CodeScorer(model, examples)
    raw = scorer.prompt_scorer.choice_log_likelihoods()[0]
    alone = PromptScorer(model.backbone, examples)
    assert torch.equal(alone.choice_log_likelihoods()[0], raw)
    assert torch.equal(alone.gold_losses()[0], scorer.prompt_scorer.gold_losses()[0])
    for e, row in enumerate(examples):
        expected = [plain_log_likelihood(model.backbone, row, choice) for choice in row["choice_ids"]]
        assert raw[e, : len(expected)].tolist() == pytest.approx(expected, rel=1e-5)
    assert scorer.evaluations == 0


def test_tuned_prompts_score_as_codes_do(model, examples, codes):
    prompts = model.prompt_vectors(codes).detach()
    expected = CodeScorer(model, examples).choice_log_likelihoods(codes)
    torch.testing.assert_close(PromptScorer(model, examples).choice_log_likelihoods(prompts), expected)
    torch.testing.assert_close(PromptScorer(model.backbone, examples).choice_log_likelihoods(prompts), expected)
    longer = torch.cat([prompts, torch.zeros(6, 2, 16)], dim=1)
    scores = PromptScorer(model, examples).choice_log_likelihoods(longer)
    assert (scores - expected)[expected.isfinite()].abs().max() > 1e-3


def test_running_out_of_memory_halves_the_budget(model, examples, codes, monkeypatch):
    expected = CodeScorer(model, examples).choice_log_likelihoods(codes)
    scorer = CodeScorer(model, examples, token_budget=400)
    encode = EncoderDecoderReader.encode

    def limited(self, prompts, prompt_ids, example_ids):
        hidden, mask = encode(self, prompts, prompt_ids, example_ids)
        if hidden.shape[0] * hidden.shape[1] > 90:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return hidden, mask

    monkeypatch.setattr(EncoderDecoderReader, "encode", limited)
    torch.testing.assert_close(scorer.choice_log_likelihoods(codes), expected, rtol=1e-5, atol=0)
    assert 20 < scorer.prompt_scorer.token_budget <= 90


def test_other_errors_are_not_taken_for_a_lack_of_memory(model, examples, codes, monkeypatch):
    def fail(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(EncoderDecoderReader, "encode", fail)
    with pytest.raises(RuntimeError, match="something else"):
        CodeScorer(model, examples).gold_losses(codes)


def test_half_precision_gives_float32_losses(model, examples, codes):
    scores = CodeScorer(model, examples, autocast_dtype=torch.bfloat16).choice_log_likelihoods(codes)
    expected = CodeScorer(model, examples).choice_log_likelihoods(codes)
    assert scores.dtype == torch.float64
    difference = (scores - expected)[expected.isfinite()].abs()
    assert 0 < difference.max() < 0.5


def test_half_precision_by_an_autocast_around(model, examples, codes):
    plain, half = CodeScorer(model, examples), CodeScorer(model, examples, autocast_dtype=torch.bfloat16)
    expected = half.choice_log_likelihoods(codes)
    with torch.autocast("cpu", torch.bfloat16):
        around = CodeScorer(model, examples)
        in_float32 = plain.choice_log_likelihoods(codes)  # was made before
    assert torch.equal(around.choice_log_likelihoods(codes), expected)
    assert torch.equal(in_float32, CodeScorer(model, examples).choice_log_likelihoods(codes))
    assert around.fingerprint() == half.fingerprint() != plain.fingerprint()  # no trace is continued in the other


# --------------------------------------------------------------------------------------------------- generation


def test_generation_by_code(codes):
    text_config = T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    model = make_model(text_config).eval()
    rows = [{"input_ids": row["input_ids"], "labels": [5, EOS]} for row in make_examples()]
    scorer = CodeScorer(model, rows, token_budget=40)
    generated = scorer.generate(codes, max_new_tokens=4)
    for of_code, code in zip(generated, codes, strict=True):
        for ids, row in zip(of_code, rows, strict=True):
            expected = model.generate(torch.tensor([row["input_ids"]]), task_code=code, max_new_tokens=4)[
                0, 1:
            ].tolist()
            assert ids == (expected[: expected.index(EOS)] if EOS in expected else expected)
    assert len({str(of_code) for of_code in generated}) > 1
    assert not scorer.has_choices
    with pytest.raises(ValueError, match="no answer choices"):
        scorer.choice_log_likelihoods(codes)


# --------------------------------------------------------------------------------------------------- bad input


def test_choices_for_some_examples_only(model, examples):
    examples[2].update(choice_ids=None, answer=None)
    with pytest.raises(ValueError, match="Only 8 of the 9 examples have answer choices"):
        CodeScorer(model, examples)


def test_no_examples(model):
    with pytest.raises(ValueError, match="no examples"):
        CodeScorer(model, [])


def test_unlabelled_examples_have_no_gold_loss(model, codes):
    scorer = CodeScorer(model, make_examples(labelled=False))
    assert scorer.choice_log_likelihoods(codes).isfinite().any()
    with pytest.raises(ValueError, match="neither `labels` nor a known `answer`"):
        scorer.gold_losses(codes)
    with pytest.raises(ValueError, match="9 of 9 have none"):
        scorer.accuracies(codes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [([[0, 1]], "2 integers"), ([[0, 1, 12]], "from 0 to 11"), ([[0, 1, -1]], "from 0 to 11"), ([], "Codes must")],
)
def test_codes_that_do_not_fit(model, examples, codes, message):
    with pytest.raises(ValueError, match=message):
        CodeScorer(model, examples).gold_losses(codes)


def test_what_needs_choices_says_so(model, examples):
    free = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in examples]
    with pytest.raises(ValueError, match="The accuracy needs answer choices, which these examples do not have"):
        CodeScorer(model, free).accuracies([[0, 0, 0]])


def test_a_model_without_codes(model, examples):
    with pytest.raises(ValueError, match="needs a CTR model"):
        CodeScorer(model.backbone, examples)


def test_prompts_of_another_width(model, examples):
    with pytest.raises(ValueError, match=r"\(num_prompts, prompt_length, 16\)"):
        PromptScorer(model, examples).gold_losses(torch.zeros(2, 3, 8))


def test_scores_that_are_not_numbers(model, examples, codes):
    with torch.no_grad():
        model.backbone.lm_head.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        CodeScorer(model, examples).gold_losses(codes)
    with pytest.raises(ValueError, match="NaN"):  # else the raw model's answers would be the first choice
        PromptScorer(model, examples).choice_log_likelihoods()


def test_a_model_without_weights(model, examples):
    with pytest.raises(ValueError, match="on the device 'meta'"):
        CodeScorer(model.to("meta"), examples)


def test_fingerprints(model, examples):
    first = CodeScorer(model, examples).fingerprint()
    assert CodeScorer(make_model(), examples, token_budget=5).fingerprint() == first
    assert CodeScorer(make_model(seed=1), examples).fingerprint()["model"] != first["model"]
    changed = CodeScorer(model, examples[1:]).fingerprint()
    assert changed["data"] != first["data"] and changed["model"] == first["model"]


# --------------------------------------------------------------------------------------------------- recorded


def test_recorded_choice_scores(shared, reference_model):
    data = np.load(shared / "reference" / "choice_scoring.npz")
    rows = [
        {
            "input_ids": ids[mask == 1].tolist(),
            "choice_ids": [c[m == 1].tolist() for c, m in zip(choices, masks, strict=True)],
            "answer": int(label.argmax()),
        }
        for ids, mask, choices, masks, label in zip(
            data["input_ids"],
            data["attention_mask"],
            data["candidate_token_ids"],
            data["candidate_attention_mask"],
            data["labels"],
            strict=True,
        )  # fmt: skip
    ]
    scorer = CodeScorer(reference_model, rows)
    by_task = reference_model.task_codes()[int(data["task_id"])]
    scores = scorer.choice_log_likelihoods(torch.stack([torch.tensor(data["code"]), by_task])).numpy()
    np.testing.assert_allclose(scores[0], data["scores_code"], atol=1e-4)
    np.testing.assert_allclose(scores[1], data["scores_task_id"], atol=1e-4)


def test_plain_t5_in_half_precision(examples):
    """The T0 baseline's use: any seq2seq model, its own dtype."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).to(torch.bfloat16)
    scores = PromptScorer(model, examples).choice_log_likelihoods()
    assert scores.shape == (1, 9, 4)
    assert not isinstance(model, CTRForConditionalGeneration)
