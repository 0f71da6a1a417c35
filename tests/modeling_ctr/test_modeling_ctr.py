"""The forward pass, losses and task registry, on very small models of every supported family."""

import inspect
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM

from modeling_ctr import CTRConfig, CTRForConditionalGeneration
from modeling_ctr.prompt_encoder import prompt_attention_mask
from modeling_ctr.task_arguments import get_task_tensors

# ------------------------------------------------------------------------------------------------------- forward


def test_output_has_what_it_promises(model, tiny_batch):
    batch = tiny_batch(model)
    output = model(**batch)
    assert output.logits.shape == (3, 5, 64)
    assert output.encoder_last_hidden_state.shape == (3, 4 + 9, 16)
    assert torch.equal(output.task_codes, model.task_codes()[batch["task_id"]])
    assert torch.equal(output.loss, output.lm_loss + output.vq_loss)
    as_tuple = model(**batch, return_dict=False)
    assert torch.equal(as_tuple[0], output.loss) and torch.equal(as_tuple[1], output.logits)


def test_losses_are_those_of_the_definitions(model, tiny_batch):
    batch = tiny_batch(model)
    output = model(**batch)
    token_mean = F.cross_entropy(output.logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(output.lm_loss, token_mean)
    torch.testing.assert_close(output.vq_loss, model.task_codebook(batch["task_id"]).vq_loss)


def test_prompt_vectors_stand_in_front_of_the_word_embeddings(model, tiny_batch):
    batch = tiny_batch(model)
    vectors = model.prompt_vectors(model.task_codes()[batch["task_id"]])
    words = model.backbone.get_encoder().get_input_embeddings()(batch["input_ids"])
    expected = model.backbone(
        inputs_embeds=torch.cat([vectors, words], 1),
        attention_mask=F.pad(batch["attention_mask"], (4, 0), value=1),
        labels=batch["labels"],
    )
    output = model(**batch)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.lm_loss, expected.loss)


def test_without_labels(model, tiny_batch):
    batch = tiny_batch(model)
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    with_labels = model(**batch)
    del batch["labels"]
    output = model(**batch, decoder_input_ids=decoder_input_ids)
    assert output.loss is None and output.lm_loss is None
    assert torch.equal(output.vq_loss, with_labels.vq_loss)
    assert torch.equal(output.logits, with_labels.logits)


def test_a_code_gives_what_its_task_gives_without_a_vq_loss(model, tiny_batch):
    batch = tiny_batch(model)
    by_id = model(**batch)
    codes = model.task_codes()[batch.pop("task_id")]
    by_code = model(**batch, task_code=codes)
    assert torch.equal(by_code.logits, by_id.logits)
    assert by_code.vq_loss is None and torch.equal(by_code.loss, by_id.lm_loss)
    assert torch.equal(by_code.task_codes, codes)


def test_one_code_for_the_whole_batch(model, tiny_batch):
    batch = tiny_batch(model)
    del batch["task_id"]
    code = torch.tensor([1, 7, 0, 3])
    assert torch.equal(model(**batch, task_code=code).logits, model(**batch, task_code=code.repeat(3, 1)).logits)


def test_two_codes_give_different_logits(model, tiny_batch):
    batch = tiny_batch(model)
    del batch["task_id"]
    code = torch.tensor([1, 7, 0, 3])
    logits = model(**batch, task_code=code).logits
    for position in range(4):  # one integer is enough, and its place counts
        other = code.clone()
        other[position] = 5
        assert (model(**batch, task_code=other).logits - logits).abs().amax((1, 2)).min() > 1e-3
    assert (model(**batch, task_code=code.flip(0)).logits - logits).abs().max() > 1e-3


def test_mixed_tasks_in_a_batch_equal_the_single_ones(model, tiny_batch):
    batch = tiny_batch(model)
    together = model(**batch)
    singles = [model(**{name: tensor[row : row + 1] for name, tensor in batch.items()}) for row in range(3)]
    for row, single in enumerate(singles):
        torch.testing.assert_close(single.logits[0], together.logits[row], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.stack([single.vq_loss for single in singles]).mean(), together.vq_loss)


def test_padding_side_and_amount_do_not_change_the_logits(model, tiny_batch):
    batch = tiny_batch(model)
    expected = model(**batch)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    left = [torch.stack([row.roll(int(9 - m.sum())) for row, m in zip(x, mask, strict=True)]) for x in (ids, mask)]
    for input_ids, attention_mask in (left, (F.pad(ids, (0, 5)), F.pad(mask, (0, 5)))):
        output = model(**batch | {"input_ids": input_ids, "attention_mask": attention_mask})
        torch.testing.assert_close(output.logits, expected.logits, atol=1e-4, rtol=1e-4)
    lone = model(
        **{name: tensor[2:] for name, tensor in batch.items()} | {"input_ids": ids[2:, :4], "attention_mask": None}
    )
    torch.testing.assert_close(lone.logits[0], expected.logits[2], atol=1e-4, rtol=1e-4)


def test_inputs_may_be_given_as_embeddings(model, tiny_batch):
    batch = tiny_batch(model)
    expected = model(**batch).logits
    embeddings = model.backbone.get_encoder().get_input_embeddings()(batch.pop("input_ids"))
    assert torch.equal(model(**batch, inputs_embeds=embeddings).logits, expected)


def test_encoder_outputs_may_be_given(model, tiny_batch):
    batch = tiny_batch(model)
    expected = model(**batch).logits
    encoder_outputs = model.get_encoder()(batch["input_ids"], batch["attention_mask"], task_id=batch["task_id"])
    output = model(
        encoder_outputs=encoder_outputs, attention_mask=batch["attention_mask"], labels=batch["labels"]
    )  # no task: it is in the encoder's output
    assert torch.equal(output.logits, expected)


def test_the_encoder_takes_any_prompt_vectors(model, tiny_batch):
    batch = tiny_batch(model)
    task_id = batch["task_id"]
    inputs = batch["input_ids"], batch["attention_mask"]
    vectors = model.prompt_vectors(model.task_codes()[task_id])
    encoder = model.get_encoder()
    by_vectors = encoder(*inputs, prompt_embeds=vectors)
    assert torch.equal(by_vectors.last_hidden_state, encoder(*inputs, task_id=task_id).last_hidden_state)
    longer = encoder(*inputs, prompt_embeds=torch.cat([vectors, vectors], 1))
    assert longer.last_hidden_state.shape == (3, 8 + 9, 16)


def test_prompt_attention_mask():
    mask = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
    assert prompt_attention_mask(mask, 2).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]


def test_hidden_states_and_attentions_are_passed_on(tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5")
    model.set_attn_implementation("eager")
    output = model(**tiny_batch(model), output_hidden_states=True, output_attentions=True)
    assert len(output.encoder_hidden_states) == len(output.decoder_hidden_states) == 3
    assert output.encoder_attentions[0].shape == (3, 2, 13, 13)
    assert output.cross_attentions[0].shape == (3, 2, 5, 13)


def test_sdpa_equals_eager(kind, tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model(kind)
    batch = tiny_batch(model)
    results = {}
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        assert model.backbone.config._attn_implementation == implementation
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        results[implementation] = output.logits, model.task_codebook.position_maps.weight.grad.clone()
    for sdpa, eager in zip(*results.values(), strict=True):
        torch.testing.assert_close(sdpa, eager, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_forward_compiles_without_graph_breaks(kind, tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model(kind)
    batch = tiny_batch(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # traces in full, generates no code
    expected, output = model(**batch), compiled(**batch)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.loss, expected.loss)
    output.loss.backward()
    assert model.task_codebook.code_vectors.weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_compiled_by_code(t5, tiny_batch):
    batch = tiny_batch(t5)
    batch["task_code"] = t5.task_codes()[batch.pop("task_id")]
    torch._dynamo.reset()
    expected, output = t5(**batch), torch.compile(t5, fullgraph=True, backend="aot_eager")(**batch)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # the new name is not in 5.17
def test_activation_checkpointing_gives_the_same_gradients(kind, tiny_ctr_model, tiny_batch, assert_close_in_norm):
    model = tiny_ctr_model(kind).train()
    batch = tiny_batch(model)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            assert model.is_gradient_checkpointing
        model.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name in gradients[0]:
        assert_close_in_norm(gradients[1][name], gradients[0][name], 2e-5, name)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_activation_checkpointing_with_a_frozen_language_model(t5, tiny_batch):
    t5.train()
    t5.backbone.requires_grad_(False)
    t5.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    t5(**tiny_batch(t5), use_cache=False).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in t5.task_codebook.parameters())


def test_a_backward_pass_reaches_every_parameter_in_use(model, tiny_batch):
    model(**tiny_batch(model)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    for parameter in model.task_codebook.parameters():
        assert parameter.grad.abs().sum() > 0


# ------------------------------------------------------------------------------------------- rank classification


def test_choice_log_likelihoods(model, tiny_batch):
    batch = tiny_batch(model)
    choices = torch.tensor(
        [
            [[5, 1, -100], [6, 7, 1], [8, 1, -100]],
            [[5, 1, -100], [9, 1, -100], [-100, -100, -100]],
            [[0, 3, 1], [6, 7, 1], [5, 1, -100]],  # the pad id may be part of a choice
        ]
    )
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "task_id")}
    scores = model.choice_log_likelihoods(choice_ids=choices, **inputs)
    assert scores.shape == (3, 3) and scores[1, 2] == float("-inf")
    named = {"task": ["ag_news", "glue_mrpc", "glue_qqp"]}
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(model.choice_log_likelihoods(choice_ids=choices, **texts, **named), scores)
    for row in range(3):
        for column in range(3):
            labels = choices[row, column][None]
            if (labels >= 0).any():
                loss = model(**{name: t[row : row + 1] for name, t in inputs.items()}, labels=labels).lm_loss
                torch.testing.assert_close(scores[row, column], -loss * (labels >= 0).sum(), atol=1e-4, rtol=1e-5)


# ------------------------------------------------------------------------------------------------- initialisation


def test_initialisation_is_the_authors(tiny_t5_config):
    torch.manual_seed(0)
    config = CTRConfig(
        text_config=tiny_t5_config("t5", d_model=64), num_tasks=400, code_length=10, codebook_size=128, code_dim=100
    )
    codebook = CTRForConditionalGeneration(config).task_codebook
    assert_statistics(codebook.task_embedding.weight, std=1.0)
    assert_statistics(codebook.position_maps.weight, std=0.1)
    bound = 100 / 128
    assert_statistics(codebook.code_vectors.weight, std=bound / 3**0.5)
    assert 0.99 * bound < codebook.code_vectors.weight.abs().max() <= bound
    bound = 1 / 100**0.5  # nn.Linear
    assert_statistics(codebook.prompt_decoder.weight, std=bound / 3**0.5)
    assert 0.99 * bound < codebook.prompt_decoder.weight.abs().max() <= bound


def test_initialisation_of_a_new_codebook_on_a_loaded_language_model(tiny_t5_config, tmp_path):
    AutoModelForSeq2SeqLM.from_config(tiny_t5_config("t5")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    codebook = CTRForConditionalGeneration.from_backbone(tmp_path, num_tasks=2000, codebook_size=1000).task_codebook
    assert_statistics(codebook.task_embedding.weight, std=1.0)
    assert_statistics(codebook.position_maps.weight, std=0.1)
    assert_statistics(codebook.code_vectors.weight, std=0.1 / 3**0.5)


def assert_statistics(weight: torch.Tensor, std: float) -> None:
    """The mean is 0 within four standard errors, and the standard deviation is `std` within 3%."""
    assert weight.mean().abs() < 4 * std / weight.numel() ** 0.5
    assert abs(weight.std() / std - 1) < 0.03


# -------------------------------------------------------------------------------------------------- task registry


def test_names_ids_and_codes(t5):
    assert t5.task_names == ["glue_mrpc", "glue_qqp", "ag_news"]
    assert [t5.get_task_id(name) for name in t5.task_names] == [0, 1, 2]
    codes = t5.task_codes()
    assert codes.shape == (3, 4) and codes.dtype == torch.int64
    assert len(codes.unique(dim=0)) == 3
    for name, code in zip(t5.task_names, codes, strict=True):
        assert torch.equal(t5.get_task_code(name), code)


def test_codes_follow_the_weights(t5):
    before = t5.task_codes()
    with torch.no_grad():
        t5.task_codebook.task_embedding.weight[1] = t5.task_codebook.task_embedding.weight[2]
    after = t5.task_codes()
    assert torch.equal(after[[0, 2]], before[[0, 2]]) and torch.equal(after[1], before[2])


@pytest.mark.parametrize("code", [[7, 0, 1, 2], torch.tensor([7, 0, 1, 2])])
def test_an_added_task_is_part_of_the_checkpoint(code, t5, tiny_batch, tmp_path):
    t5.add_task("rte", code)
    t5.save_pretrained(tmp_path)
    model = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert model.task_names == ["glue_mrpc", "glue_qqp", "ag_news", "rte"]
    assert model.get_task_code("rte").tolist() == [7, 0, 1, 2]
    inputs = {name: tiny_batch(t5)[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 5, "no_repeat_ngram_size": 1}
    by_name = model.generate(**inputs, task="rte", **options)
    assert torch.equal(by_name, t5.generate(**inputs, task_code=[7, 0, 1, 2], **options))


def test_adding_a_task_leaves_other_models_of_the_config_alone(tiny_ctr_model):
    config = tiny_ctr_model("t5").config
    before = config.added_task_codes
    CTRForConditionalGeneration(config).add_task("rte", [0, 0, 0, 0])
    assert "rte" not in before


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("ag_news", [0, 0, 0, 0], "There is already a task 'ag_news'"),
        ("rte", [0, 0, 0], "'rte' has 3 integers, but a task code of this model has 4"),
        ("rte", [0, 0, 8, 0], r"'rte' has the value 8 at position 2, but the codebook holds 8 vectors \(0 to 7\)"),
        ("rte", [0, 0, 0, -1], "'rte' has the value -1 at position 3"),
        ("rte", [0, 0, 0.5, 0], "'rte' must hold integers, but has 0.5 at position 2"),
        ("rte", torch.tensor([[0, 0, 0, 0]]), "'rte' "),
        (3, [0, 0, 0, 0], "A task's name must be a string, but is 3"),
        ("", [0, 0, 0, 0], "A task's name must not be empty"),
        (" ", [0, 0, 0, 0], "A task's name must not be empty"),
        ("rte", torch.tensor(3), "'rte' must be a list of 4 integers, but is 3"),
    ],
)
def test_add_task_refuses(name, code, message, t5):
    with pytest.raises(ValueError, match=message):
        t5.add_task(name, code)
    assert t5.config.added_task_codes == {}


@pytest.mark.parametrize("as_given", [tuple, np.array, torch.tensor])
def test_codes_may_be_arrays(as_given, t5, tmp_path):
    t5.add_task("rte", as_given([0, 1, 2, 3]))
    t5.save_pretrained(tmp_path)
    assert CTRForConditionalGeneration.from_pretrained(tmp_path).get_task_code("rte").tolist() == [0, 1, 2, 3]


def test_adding_a_task_costs_the_same_however_many_there_are(t5):
    """Setting the config's field anew for each task would check all codes each time."""
    seconds = []
    for start in (0, 1000):
        begin = time.process_time()
        for i in range(start, start + 200):
            t5.add_task(f"task {i}", [0, 1, 2, 3])
        seconds.append(time.process_time() - begin)
        for i in range(start + 200, start + 1000):
            t5.add_task(f"task {i}", [0, 1, 2, 3])
    assert seconds[1] < 4 * seconds[0] + 0.05


def test_an_added_name_is_taken_as_well(t5):
    t5.add_task("rte", [0, 1, 2, 3])
    with pytest.raises(ValueError, match="There is already a task 'rte'"):
        t5.add_task("rte", [0, 1, 2, 3])


# ------------------------------------------------------------------------------------------------------ bad input


def test_unknown_names_get_near_matches(t5):
    t5.add_task("glue_mnli", [0, 1, 2, 3])
    with pytest.raises(ValueError, match="no task 'glue_mrp': did you mean 'glue_mrpc' or"):
        t5.get_task_code("glue_mrp")
    with pytest.raises(ValueError, match="no task 'something else': it has 4 tasks"):
        t5.get_task_code("something else")
    with pytest.raises(ValueError, match="no task 'glue_mrp': did you mean"):
        t5.generate(torch.tensor([[3, 1]]), task="glue_mrp")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({}, "No task is given: pass `task_id`, `task_code` or `prompt_embeds`"),
        ({"task_id": [0, 1, 2], "task_code": [[0, 0, 0, 0]] * 3}, "one of `task_id`, `task_code` and `prompt_embeds`"),
        (
            {"task_id": [0, 1, 2], "prompt_embeds": [[0.0] * 16]},
            "one of `task_id`, .* and `prompt_embeds`, not several",
        ),
        ({"task_id": [0, 1]}, r"`task_id` has shape \(2,\), but a batch of 3 needs \(3,\)"),
        ({"task_id": [0, 3, 1]}, r"`task_id` has the value 3, but there are only 3 tasks \(0 to 2\)"),
        ({"task_id": [0, -1, 1]}, "`task_id` has the value -1"),
        ({"task_id": [0.0, 1.0, 1.0]}, "`task_id` must hold integers, but has dtype torch.float32"),
        ({"task_code": [0, 0, 0]}, "`task_code` has 3 integers, but a task code of this model has 4"),
        (
            {"task_code": [[0, 0, 0, 0]] * 2},
            r"`task_code` has shape \(2, 4\), but a batch of 3 needs \(3, 4\) or \(4,\)",
        ),
        (
            {"task_code": [0, 8, 0, 0]},
            r"`task_code` has the value 8 at position 1, but the codebook holds 8 vectors \(0 to 7\)",
        ),
        ({"task_code": [0, -2, 0, 0]}, "`task_code` has the value -2"),
        ({"task_code": [0.5, 1, 1, 1]}, "`task_code` must hold integers"),
        ({"prompt_embeds": [[0] * 16]}, "`prompt_embeds` must hold floating-point numbers, but has dtype torch.int64"),
        (
            {"prompt_embeds": [[0.0] * 12]},
            r"`prompt_embeds` has shape \(3, 1, 12\), but a batch of 3 needs \(3, prompt_length, 16\) or \(prompt_length, 16\)",
        ),
        ({"prompt_embeds": [[[0.0] * 16]] * 2}, r"`prompt_embeds` has shape \(2, 1, 16\)"),
        ({"prompt_embeds": [0.0] * 16}, r"`prompt_embeds` has shape \(16,\)"),
    ],
)
@pytest.mark.parametrize("call", ["forward", "generate", "encoder"])
def test_a_wrong_task_is_refused(task, message, call, t5, tiny_batch):
    batch = tiny_batch(t5)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    inputs |= {name: torch.tensor(value) for name, value in task.items()}
    with pytest.raises(ValueError, match=message):
        if call == "forward":
            t5(**inputs, labels=batch["labels"])
        elif call == "generate":
            t5.generate(**inputs, max_new_tokens=2)
        else:
            t5.get_encoder()(**inputs)


def test_checks_never_wait_for_an_accelerator(t5):
    # Reading a value of a meta tensor is an error, where it would be a wait on a GPU.
    task_id, task_code = (
        torch.zeros(3, dtype=torch.long, device="meta"),
        torch.zeros(4, dtype=torch.long, device="meta"),
    )
    for given, shape in (({"task_id": task_id}, (3,)), ({"task_code": task_code}, (3, 4))):
        (tensor,) = get_task_tensors(t5.config, batch_size=3, device="meta", **given).values()
        assert tensor.shape == shape


@pytest.mark.parametrize("shape", [(3, 8), (3, 13), (1, 9), (3, 1, 1, 9)])
def test_a_mask_of_another_shape_is_refused(shape, t5, tiny_batch):
    batch = tiny_batch(t5) | {"attention_mask": torch.ones(shape, dtype=torch.long)}
    inputs = {"input_ids": batch["input_ids"], "inputs_embeds": t5.get_input_embeddings()(batch["input_ids"])}
    for name in inputs:
        with pytest.raises(ValueError, match=r"`attention_mask` has shape .*, but an input of shape \(3, 9\) needs"):
            t5(**batch | {"input_ids": None, name: inputs[name]})


def test_inputs_longer_than_the_language_models_positions(tiny_ctr_model):
    model = tiny_ctr_model("bart")  # 64 positions
    inputs = {"task_id": torch.tensor([0]), "labels": torch.tensor([[5, 1]])}
    assert model(torch.full((1, 60), 5), **inputs).loss.isfinite()
    with pytest.raises(ValueError, match=r"prompt \(4\) and the input \(61 tokens\) .* cut inputs to 60 tokens"):
        model(torch.full((1, 61), 5), **inputs)


def test_prompt_vectors_check_their_codes(t5):
    assert t5.prompt_vectors(torch.tensor([[0, 1, 2, 7], [0, 0, 0, 0]])).shape == (2, 4, 16)
    with pytest.raises(ValueError, match="`task_code` has the value 8"):
        t5.prompt_vectors(torch.tensor([[0, 1, 2, 8]]))
    with pytest.raises(ValueError, match="has 3 integers"):
        t5.prompt_vectors(torch.tensor([[0, 1, 2]]))


@pytest.mark.parametrize(
    "task",
    [{"task": "ag_news"}, {"task": ["ag_news"] * 3}, {"task_id": 2}, {"task_id": [2, 2, 2]}, {"task_code": "a list"}],
)
def test_tasks_by_name_or_as_plain_numbers(task, tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5", default_task="glue_mrpc")
    batch = tiny_batch(model)
    del batch["task_id"]
    if "task_code" in task:
        task = {"task_code": model.get_task_code("ag_news").tolist()}
    expected = model(**batch, task_code=model.get_task_code("ag_news"))
    output = model(**batch, **task)
    assert torch.equal(output.logits, expected.logits)
    del batch["labels"]
    assert torch.equal(model.get_encoder()(**batch, **task)[0], output.encoder_last_hidden_state)


@pytest.mark.parametrize(
    "task", [{"task_id": "ag_news"}, {"task_id": ["ag_news"] * 3}, {"task_code": [[0, 1], [2]]}, {"task_code": "1 2"}]
)
def test_what_is_no_number_is_refused(task, t5, tiny_batch):
    inputs = {"input_ids": tiny_batch(t5)["input_ids"]}
    for call in (t5, t5.generate):
        with pytest.raises(ValueError, match="must hold numbers, in rows of one length, but is .* go to `task`"):
            call(**inputs, **task)


def test_a_data_sets_column_is_not_taken_for_a_task(t5):
    # The Trainer keeps the columns that the model's forward names; one of strings would break its collator.
    assert "task" not in inspect.signature(t5.forward).parameters


@pytest.mark.parametrize("default", ["ag_news", "rte"])
def test_the_default_task_is_used_where_none_is_given(default, tiny_ctr_model, tiny_batch):
    model = tiny_ctr_model("t5", added_task_codes={"rte": [3, 2, 1, 0]}, default_task=default)
    batch = tiny_batch(model)
    task_id = batch.pop("task_id")
    expected = model(**batch, task_code=model.get_task_code(default))
    output = model(**batch)
    assert torch.equal(output.logits, expected.logits)
    assert (output.vq_loss is None) == (default == "rte")
    assert not torch.equal(model(**batch, task_id=task_id).logits, expected.logits)  # a given task wins
