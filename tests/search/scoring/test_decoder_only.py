"""Decoder-only language models: what is scored in parts equals what the whole sequence gives."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from search import (
    BitwiseSearch,
    CodeEnsemble,
    CodeScorer,
    PromptScorer,
    best_training_code,
    task_code_space,
    tune_prompt,
)
from search.scoring import text_cache
from search.scoring.decoder_only import count_shared_tokens
from search.scoring.targets import Targets

from ..conftest import EOS, make_examples

BOS = 2
KINDS = ("llama", "gemma3_text", "gpt2")  # rotary positions, a sliding window (of 6), learned positions


@pytest.fixture(scope="module")
def models(tiny_causal_model):
    """`models(kind, position)`: made once."""
    made = {}

    def get(kind="llama", position="prefix"):
        if (kind, position) not in made:
            made[kind, position] = tiny_causal_model(kind, code_position=position)
        return made[kind, position]

    return get


def with_bos(rows):
    return [{**row, "input_ids": [BOS, *row["input_ids"]]} for row in rows]


@pytest.fixture
def codes():
    return torch.randint(0, 8, (5, 4), generator=torch.Generator().manual_seed(1))


def compute_by_definition(model, row, target, prompt, position):
    """Text, prompt and target in one sequence, one pass, no cache, no padding."""
    ids, words = row["input_ids"], model.get_input_embeddings()
    start = len(ids) if position == "suffix" else int(ids[0] == BOS)
    with torch.no_grad():
        parts = [words(torch.tensor(ids[:start], dtype=torch.long)), prompt, words(torch.tensor(ids[start:] + target))]
        logits = model(inputs_embeds=torch.cat(parts)[None]).logits[0]
    before = logits[len(logits) - len(target) - 1 : -1]
    return before.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).sum().item()


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("position", ["prefix", "suffix"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_whole_sequences(models, kind, position, bos, codes):
    model, rows = models(kind, position), make_examples(6)
    rows = with_bos(rows) if bos else rows
    for row in rows:  # all answers begin alike
        row["choice_ids"] = [[9, 9, *choice] for choice in row["choice_ids"]]
        row["labels"] = row["choice_ids"][row["answer"]]
    scorer = CodeScorer(model, rows, token_budget=150)
    scores, prompts = scorer.choice_log_likelihoods(codes), model.prompt_vectors(codes).detach()
    losses = CodeScorer(model, rows).gold_losses_per_example(codes)
    for c in range(len(codes)):
        for e, row in enumerate(rows):
            expected = [
                compute_by_definition(model.backbone, row, choice, prompts[c], position)
                for choice in row["choice_ids"]
            ]
            assert scores[c, e, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
            assert scores[c, e, len(expected) :].tolist() == [-math.inf] * (4 - len(expected))
            assert losses[c, e].item() == pytest.approx(-expected[row["answer"]], abs=1e-4)


@pytest.mark.parametrize("position", ["prefix", "suffix"])
def test_scores_are_the_models_own(models, position, codes):
    model, rows = models("llama", position), make_examples(4)
    scores = CodeScorer(model, rows).choice_log_likelihoods(codes)
    for e, row in enumerate(rows):
        longest = max(map(len, row["choice_ids"]))
        choices = torch.tensor([[c + [-100] * (longest - len(c)) for c in row["choice_ids"]]])
        with torch.no_grad():
            own = model.choice_log_likelihoods(torch.tensor([row["input_ids"]]), choices, task_code=codes[:1])
        torch.testing.assert_close(scores[0, e, : choices.shape[1]].float(), own[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_without_prompt(models, kind):
    model, rows = models(kind), with_bos(make_examples(5))
    scores = PromptScorer(model.backbone, rows, token_budget=60).choice_log_likelihoods()[0]
    nothing = torch.zeros(0, 16)
    for e, row in enumerate(rows):
        expected = [compute_by_definition(model.backbone, row, c, nothing, "prefix") for c in row["choice_ids"]]
        assert scores[e, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
    inside = CodeScorer(models(kind, "suffix"), rows).prompt_scorer.choice_log_likelihoods()[0]
    torch.testing.assert_close(inside, scores, rtol=1e-5, atol=1e-4)  # the other model has the same language model


@pytest.mark.parametrize("position", ["prefix", "suffix"])
@pytest.mark.parametrize("budget", [1, 40, 10**6])
def test_the_token_budget_changes_nothing(models, position, budget, codes):
    model, rows = models("gemma3_text", position), make_examples()
    expected = CodeScorer(model, rows).choice_log_likelihoods(codes)
    scores = CodeScorer(model, rows, token_budget=budget).choice_log_likelihoods(codes)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-4)


def count_tokens(model, scorer, codes):
    """Tokens, padding included, that the language model reads."""
    read = []
    layer = model.backbone.model.layers[0]
    handle = layer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0].shape[:2].numel()))
    scorer.choice_log_likelihoods(codes)
    handle.remove()
    return sum(read)


def test_behind_the_text_a_code_costs_its_vectors_and_the_answers_alone(models, codes):
    model = models("llama", "suffix")
    rows = [{"input_ids": [3] * 20, "choice_ids": [[5, EOS], [6, EOS], [7, EOS]]} for _ in range(4)]
    scorer = CodeScorer(model, rows)
    answers = 3 * 1  # the first tokens follow from the code's last vector, the end is predicted by the one before
    assert count_tokens(model, scorer, codes[:1]) == 4 * (20 + 4 + answers)
    assert count_tokens(model, scorer, codes[1:]) == 4 * 4 * (4 + answers)
    front = models("llama", "prefix")
    assert count_tokens(front, CodeScorer(front, rows), codes) == 5 * 4 * (24 + answers)


def test_kept_texts_are_bounded_and_forgotten_with_their_weights(tiny_causal_model, codes, monkeypatch):
    model, rows = tiny_causal_model("llama", code_position="suffix"), make_examples()
    scorer = CodeScorer(model, rows)
    expected = scorer.choice_log_likelihoods(codes)
    reader = scorer.prompt_scorer.reader
    assert set(reader.texts.kept) == set(range(9))
    assert (
        reader.texts.num_bytes == sum(len(row["input_ids"]) for row in rows) * 2 * 2 * 8 * 4
    )  # layers, keys and values
    monkeypatch.setattr(text_cache, "KEPT_BYTES", reader.texts.num_bytes // 2)
    tight = CodeScorer(model, rows)
    torch.testing.assert_close(tight.choice_log_likelihoods(codes), expected, rtol=1e-5, atol=1e-5)
    assert 0 < tight.prompt_scorer.reader.texts.num_bytes <= text_cache.KEPT_BYTES
    with torch.no_grad():
        model.backbone.model.layers[0].mlp.up_proj.weight.mul_(0.5)
    prompts = model.prompt_vectors(codes)
    changed = scorer.prompt_scorer.choice_log_likelihoods(prompts)
    torch.testing.assert_close(changed, PromptScorer(model, rows).choice_log_likelihoods(prompts))
    assert (changed - expected)[expected.isfinite()].abs().max() > 0.01


@pytest.mark.parametrize("position", ["prefix", "suffix"])
def test_gradients_are_those_of_whole_sequences(models, position, codes):
    model, rows = models("llama", position), make_examples(4)
    scorer, prompts = PromptScorer(model, rows), model.prompt_vectors(codes[:2]).detach()
    scorer.gold_losses(prompts)  # texts that were kept without gradients in mind can be used
    terms, gradients = scorer.term_gradients(prompts, lambda scores, _: -scores.squeeze(-1), "gold")
    leaf = prompts.clone().requires_grad_()
    words = model.get_input_embeddings()
    for c in range(2):
        for e, row in enumerate(rows):
            text, target = words(torch.tensor(row["input_ids"])), torch.tensor(row["labels"])
            parts = [leaf[c], text] if position == "prefix" else [text, leaf[c]]
            logits = model.backbone(inputs_embeds=torch.cat([*parts, words(target)])[None]).logits[0]
            loss = torch.nn.functional.cross_entropy(logits[-len(target) - 1 : -1], target, reduction="sum")
            assert terms[c, e].item() == pytest.approx(loss.item(), abs=1e-4)
            loss.backward()
    torch.testing.assert_close(gradients, leaf.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", ["prefix", "suffix"])
@pytest.mark.parametrize("kind", KINDS)
def test_generation_is_the_models_own(models, kind, position, codes):
    model, rows = models(kind, position), with_bos(make_examples(4))
    generated = CodeScorer(model, rows, token_budget=60).generate(codes[:2], max_new_tokens=5)
    for of_code, code in zip(generated, codes[:2], strict=True):
        for ids, row in zip(of_code, rows, strict=True):
            inputs = torch.tensor([row["input_ids"]])
            own = model.generate(inputs, task_code=code, max_new_tokens=5)[0, inputs.shape[1] :].tolist()
            assert ids == (own[: own.index(EOS)] if EOS in own else own)


def test_searches_run_unchanged(models, tmp_path):
    model, rows = models("llama", "suffix"), make_examples()
    scorer = CodeScorer(model, rows)
    best = best_training_code(scorer)
    options = {"max_evaluations": 20, "progress": False}
    found = BitwiseSearch(scorer, task_code_space(model), trace_path=tmp_path / "trace", **options).run()
    assert found.loss <= best.loss
    by_gradient = BitwiseSearch(CodeScorer(model, rows), task_code_space(model), search_order="gradient", **options)
    assert by_gradient.run().gradients > 0
    assert CodeEnsemble(CodeScorer(model, make_examples(labelled=False))).run().code in model.task_codes().tolist()
    start = model.prompt_vectors(torch.tensor([found.code]))[0].detach()
    record = tune_prompt(model, rows, start, steps=3, progress=False).record
    assert record.losses[0] == pytest.approx(found.loss, rel=1e-4) and record.losses[2] < record.losses[0]


@pytest.mark.parametrize(
    ("kind", "packs"),
    [("llama", True), ("gpt2", True), ("gemma3_text", False), ("mistral", False), ("bloom", False)],
)
def test_answers_share_a_row_where_the_language_model_keeps_them_apart(tiny_causal_model, codes, kind, packs):
    """Not behind a sliding window, nor where positions follow from the mask (ALiBi)."""
    model, rows = tiny_causal_model(kind, code_position="suffix"), make_examples(4)
    scorer = CodeScorer(model, rows, token_budget=100)
    assert scorer.prompt_scorer.reader._packs == packs
    scores, prompts = scorer.choice_log_likelihoods(codes), model.prompt_vectors(codes).detach()
    for e, row in enumerate(rows):
        expected = [compute_by_definition(model.backbone, row, c, prompts[1], "suffix") for c in row["choice_ids"]]
        assert scores[1, e, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
    if packs:
        scorer.prompt_scorer.reader._packs = False
        one_by_one = scorer.prompt_scorer.choice_log_likelihoods(prompts)
        torch.testing.assert_close(one_by_one, scores, rtol=1e-5, atol=1e-4)


def test_the_mode_of_every_module_is_restored(tiny_causal_model, codes):
    model = tiny_causal_model("llama").train()
    model.backbone.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    CodeScorer(model, make_examples(3)).choice_log_likelihoods(codes)
    assert [module.training for module in model.modules()] == before


def test_shared_beginnings():
    def count(*targets):
        return count_shared_tokens(Targets.build([list(targets)], torch.device("cpu")))

    assert count([4, 5, 6], [4, 5, 7]) == 2
    assert count([4, 5], [4, 5, 7]) == 1  # a token of each is left
    assert count([4, 5]) == 1 and count([4]) == count([4], [5]) == count([5, 6], [4, 6]) == 0


def test_texts_longer_than_the_learned_positions(models):
    rows = [{"input_ids": [3] * 60, "choice_ids": [[5, EOS], [6, EOS]]}]
    with pytest.raises(ValueError, match=r"The prompt \(4 vectors\), the longest input \(60 tokens\)"):
        CodeScorer(models("gpt2"), rows).choice_log_likelihoods([[0, 0, 0, 0]])
    assert CodeScorer(models("llama"), rows).choice_log_likelihoods([[0, 0, 0, 0]]).isfinite().all()


def test_a_language_model_that_carries_a_state_is_refused():
    from transformers import RwkvConfig

    config = RwkvConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, context_length=32)
    with pytest.raises(ValueError, match="carries a state"):
        PromptScorer(AutoModelForCausalLM.from_config(config), make_examples(2))
