import json
import random

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from search import (
    OBJECTIVES,
    BitwiseSearch,
    CodeScorer,
    PromptScorer,
    PromptTuningResult,
    load_prompt_adapter,
    prompt_adapter,
    save_prompt_adapter,
    task_code_space,
    tune_prompt,
    vocabulary_prompt,
)
from search.prompt_tuning import draw_held_back

from .conftest import bart_config, make_examples, make_model

QUIET = {"progress": False}


@pytest.fixture
def start(model):
    return model.prompt_vectors(torch.tensor([[1, 2, 3]]))[0].detach()


def plain_loss(model, rows, prompt, objective):
    """Summed loss by the model's own forward, one row and one target at a time."""
    total = 0
    for row in rows:
        encoded = model.get_encoder()(torch.tensor([row["input_ids"]]), prompt_embeds=prompt[None])
        scores = []
        for target in row["choice_ids"]:
            logits = model(encoder_outputs=encoded, labels=torch.tensor([target])).logits[0]
            scores.append(logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).sum())
        scores = torch.stack(scores)
        gold = scores[row["answer"]]
        total = total + (scores.logsumexp(0) - gold if objective == "normalized_loss" else -gold)
    return total


# ------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
@pytest.mark.parametrize("text_config", [None, bart_config()], ids=["t5", "bart"])
@pytest.mark.parametrize("budget", [150, 10**6])
def test_gradients_are_those_of_the_definition(text_config, objective, budget, examples):
    model = make_model(text_config).eval()
    prompts = model.prompt_vectors(torch.tensor([[1, 2, 3], [0, 0, 7]])).detach()
    scorer = PromptScorer(model, examples, token_budget=budget)
    terms, gradients = OBJECTIVES[objective].gradients(scorer, prompts, None)
    assert terms.shape == (2, 9) and gradients.shape == prompts.shape
    for prompt, of_prompt, gradient in zip(prompts, terms, gradients, strict=True):
        leaf = prompt.clone().requires_grad_()
        expected = plain_loss(model, examples, leaf, objective)
        expected.backward()
        assert of_prompt.sum().item() == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-3, atol=1e-4)


def test_gradients_of_some_examples(model, examples, start):
    scorer = PromptScorer(model, examples)
    some = torch.tensor([7, 2])
    terms, gradients = OBJECTIVES["loss"].gradients(scorer, start[None], some)
    few = PromptScorer(model, [examples[7], examples[2]])
    expected_terms, expected = OBJECTIVES["loss"].gradients(few, start[None], None)
    torch.testing.assert_close(terms[:, some], expected_terms, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)
    assert terms.isnan().sum() == 7


def test_the_weights_keep_their_gradients_and_their_flags(model, examples, start):
    model.backbone.shared.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    OBJECTIVES["loss"].gradients(PromptScorer(model, examples), start[None], None)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


# ---------------------------------------------------------------------------------------------------- tuning


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
def test_it_is_adam_on_the_mean_loss(model, examples, start, objective):
    tuned = tune_prompt(model, examples, start, objective, steps=4, learning_rate=0.1, **QUIET)
    leaf = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = plain_loss(model, examples, leaf, objective) / len(examples)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    torch.testing.assert_close(tuned.vectors, leaf.detach(), rtol=0, atol=2e-3)
    assert tuned.record.losses == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0]
    assert (tuned.record.step, tuned.record.stopped, tuned.record.objective) == (4, "steps", objective)
    assert not torch.equal(tuned.vectors, start)  # and the start is left alone
    assert torch.equal(start, model.prompt_vectors(torch.tensor([[1, 2, 3]]))[0])


def test_early_stopping_keeps_the_best_prompt_on_examples_it_did_not_see(model, start):
    rows = make_examples(12)
    tuned = tune_prompt(
        model, rows, start, "loss", steps=60, learning_rate=0.3, held_back=4, evaluate_every=2, patience=3, **QUIET
    )
    record = tuned.record
    assert len(record.held_back) == 4
    best = min(record.held_back_losses, key=lambda look: look.loss)
    assert record.step == best.step < 60  # labels are random: nothing carries over for long
    assert record.stopped == "held_back_loss"
    assert record.held_back_losses[-1].step == record.step + 3 * 2 == len(record.losses)
    held_back = PromptScorer(model, [rows[i] for i in record.held_back])
    loss = held_back.gold_losses(tuned.vectors[None]).mean().item()
    assert loss == pytest.approx(best.loss, rel=1e-5)
    again = tune_prompt(
        model,
        [row if i not in record.held_back else {**row, "answer": 0, "labels": row["choice_ids"][0]} for i, row in enumerate(rows)],
        start, "loss", steps=2, learning_rate=0.3, **QUIET,
    )  # fmt: skip
    assert again.record.held_back == [] and again.record.losses != record.losses[:2]


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
def test_a_look_at_the_examples_held_back_costs_no_backward_pass(model, examples, start, objective, monkeypatch):
    passes, gradients = [], PromptScorer.term_gradients
    monkeypatch.setattr(PromptScorer, "term_gradients", lambda *args: passes.append(1) or gradients(*args))
    tuned = tune_prompt(model, examples, start, objective, steps=3, held_back=4, evaluate_every=1, **QUIET)
    assert len(passes) == len(tuned.record.losses) == 3 and len(tuned.record.held_back_losses) == 4


@pytest.mark.parametrize("objective", ["normalized_loss", "loss"])
def test_terms_of_prompts_are_those_that_have_gradients(model, examples, codes, objective):
    weighted = [{**row, "weight": 0.25 * i} for i, row in enumerate(examples)]
    scorer, prompts = PromptScorer(model, weighted), model.prompt_vectors(codes).detach()
    some, objective = torch.tensor([7, 2, 5]), OBJECTIVES[objective]
    terms = objective.prompt_terms(scorer, prompts, some)
    assert terms.shape == (6, 3)
    torch.testing.assert_close(terms, objective.gradients(scorer, prompts, some)[0][:, some], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(terms, objective.terms(CodeScorer(model, weighted), codes, some), rtol=1e-5, atol=1e-8)


def test_held_back_examples_are_spread_over_the_answers():
    answers = [0] * 20 + [1] * 8 + [2] * 4
    for seed in range(5):
        chosen = draw_held_back(answers, 9, random.Random(seed))
        assert chosen == sorted(set(chosen))
        assert [sum(answers[i] == a for i in chosen) for a in range(3)] == [3, 3, 3]
    assert draw_held_back(answers, 9, random.Random(1)) != draw_held_back(answers, 9, random.Random(2))
    assert draw_held_back(answers, 0, random.Random(0)) == []


def test_a_quantized_model_without_gradients(model, examples, start):
    for module in model.backbone.modules():
        if type(module) is torch.nn.Linear:  # its product comes without a way back, as some kernels' does
            module.register_forward_hook(lambda module, inputs, output: output.detach())
    model.is_quantized = True
    with pytest.raises(ValueError, match="No gradient comes back through the quantized language model"):
        tune_prompt(model, examples, start, **QUIET)
    BitwiseSearch(CodeScorer(model, examples), task_code_space(model), **QUIET).run()  # which asks for none


def test_a_plain_language_model(examples):
    """The usual prompt tuning: no codes at all."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config)
    start = vocabulary_prompt(model, 5, seed=1)
    assert start.shape == (5, 16)
    words = model.get_input_embeddings().weight
    assert all((row == words).all(1).any() for row in start)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = tune_prompt(model, examples, start, steps=5, **QUIET)
    assert tuned.record.objective == "normalized_loss"
    assert tuned.record.losses[-1] < tuned.record.losses[0]
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_ctrl_c_leaves_the_prompt_so_far(model, examples, start, monkeypatch):
    expected = tune_prompt(model, examples, start, steps=3, **QUIET)
    gradients, calls = PromptScorer.term_gradients, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return gradients(*args)

    monkeypatch.setattr(PromptScorer, "term_gradients", interrupted)
    tuned = tune_prompt(model, examples, start, steps=10, **QUIET)
    assert torch.equal(tuned.vectors, expected.vectors)
    assert (tuned.record.step, tuned.record.stopped) == (3, "interrupted")


def test_records_save_and_load(model, examples, start, tmp_path):
    record = tune_prompt(model, examples, start, steps=2, held_back=3, **QUIET).record
    record.save(tmp_path / "tuned.json")
    assert PromptTuningResult.load(tmp_path / "tuned.json") == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "accuracy"}, "'accuracy' has no gradients"),
        ({"objective": lambda scorer, codes: codes}, "no gradients"),
        ({"held_back": 9}, "from 0 to 8 of the 9 examples"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"start": torch.zeros(16)}, r"\(prompt_length, width\)"),
        ({"start": torch.zeros(3, 8)}, "width|16"),
        ({"start": torch.full((3, 16), float("nan"))}, "loss is nan at step 1: take a lower learning rate"),
    ],
)
def test_wrong_arguments(model, examples, start, change, message):
    with pytest.raises(ValueError, match=message):
        tune_prompt(model, examples, **{"start": start, **change}, **QUIET)


# --------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("text_config", [None, bart_config()], ids=["t5", "bart"])
def test_peft_loads_it_as_any_adapter(text_config, examples, tmp_path):
    model = make_model(text_config).eval()
    prompt = model.prompt_vectors(torch.tensor([[1, 2, 3]]))[0].detach() + 0.1
    save_prompt_adapter(prompt, model, tmp_path / "adapter")
    assert torch.equal(load_prompt_adapter(tmp_path / "adapter"), prompt)
    expected = PromptScorer(model, examples).gold_losses(prompt[None])[0]
    loaded = PeftModel.from_pretrained(model.backbone, tmp_path / "adapter").eval()
    for row, loss in zip(examples, expected.tolist(), strict=True):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            out = loaded(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([row["labels"]]))
        assert out.loss.item() * len(row["labels"]) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("text_config", [None, bart_config(scale_embedding=True)], ids=["t5", "bart"])
@pytest.mark.parametrize("task", ["code", "tuned"])
@torch.no_grad()
def test_peft_answers_alone_as_the_task_does(text_config, task, tmp_path):
    """From files only: the plain language model's, and the adapter's."""
    model = make_model(text_config).eval()
    model.add_task("code", [1, 2, 3])
    model.add_tuned_task("tuned", torch.randn(3, model.config.prompt_dim))
    save_prompt_adapter(model.get_task_vectors(task), model, tmp_path / "adapter")
    model.backbone.save_pretrained(tmp_path / "plain")
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain").eval()
    begin = torch.tensor([[model.config.decoder_start_token_id, 5, 9]]).expand(2, -1)
    inputs = {"input_ids": torch.tensor([[5, 9, 30, 1], [7, 1, 0, 0]])}
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    without = plain(**inputs, decoder_input_ids=begin).logits
    loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    logits = model(**inputs, task=task, decoder_input_ids=begin).logits
    theirs = loaded(**inputs, decoder_input_ids=begin).logits
    torch.testing.assert_close(theirs, logits, rtol=1e-5, atol=1e-5)
    assert (without - logits).abs().max() > 1e-3  # the prompt matters
    for beams in (1, 3):
        ours = model.generate(**inputs, task=task, num_beams=beams, max_new_tokens=6)
        assert loaded.generate(**inputs, num_beams=beams, max_new_tokens=6).tolist() == ours.tolist()


def test_an_adapter_that_cannot_be_written_leaves_the_old_one(start, tmp_path, monkeypatch):
    model = make_model()
    save_prompt_adapter(start, model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"adapter_config.json", prompt_adapter.ADAPTER_WEIGHTS}

    def save_half(tensors, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(prompt_adapter, "save_file", save_half)
    with pytest.raises(OSError, match="No space left"):
        save_prompt_adapter(start[:2] + 1, model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    save_prompt_adapter(start[:2] + 1, model, tmp_path)
    assert torch.equal(load_prompt_adapter(tmp_path), start[:2] + 1) and len(list(tmp_path.iterdir())) == 2


def test_an_adapter_names_no_folder_of_its_author(start, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "secret" / "ctr-tiny")
    for name, public in ((str(tmp_path / "secret" / "ctr-tiny"), "ctr-tiny"), ("me/ctr-tiny", "me/ctr-tiny")):
        model.name_or_path = name
        save_prompt_adapter(start, model, tmp_path / "adapter")
        content = (tmp_path / "adapter" / "adapter_config.json").read_text()
        assert json.loads(content)["base_model_name_or_path"] == public and str(tmp_path) not in content


def test_an_adapter_that_peft_trained(examples, tmp_path):
    """Another's prompt is scored as peft scores it."""
    from peft import PromptTuningConfig, get_peft_model

    model = make_model().eval()
    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4, num_transformer_submodules=1)
    get_peft_model(model.backbone, config).save_pretrained(tmp_path)
    prompt = load_prompt_adapter(tmp_path)
    assert prompt.shape == (4, 16)
    assert CodeScorer(model, examples).prompt_scorer.gold_losses(prompt[None]).shape == (1, 9)


@pytest.mark.parametrize("position", ["prefix", "suffix"])
def test_vectors_for_a_decoder_only_model(tiny_causal_model, tmp_path, position):
    model, rows = tiny_causal_model(code_position=position), make_examples(3)
    vectors = model.prompt_vectors(model.task_codes()[:1])[0].detach()
    save_prompt_adapter(vectors, model, tmp_path)
    torch.testing.assert_close(load_prompt_adapter(tmp_path), vectors, rtol=0, atol=0)
    if position == "suffix":  # peft would put them in front of the text
        assert [path.name for path in tmp_path.iterdir()] == [prompt_adapter.ADAPTER_WEIGHTS]
        return
    ids, target = rows[0]["input_ids"], rows[0]["labels"]
    with torch.no_grad():
        logits = PeftModel.from_pretrained(model.backbone, tmp_path)(torch.tensor([ids + target])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[-len(target) - 1 : -1], torch.tensor(target), reduction="sum")
    assert PromptScorer(model, rows).gold_losses(vectors[None])[0, 0].item() == pytest.approx(loss.item(), rel=1e-4)


def test_a_folder_without_an_adapter(tmp_path):
    with pytest.raises(ValueError, match="holds no prompt-tuning adapter"):
        load_prompt_adapter(tmp_path)
    assert prompt_adapter.ADAPTER_WEIGHTS == "adapter_model.safetensors"
