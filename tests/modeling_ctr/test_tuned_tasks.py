"""Tuned prompts: any vectors in front of the input, and vectors that are part of the model under a task's name."""

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors import safe_open

from modeling_ctr import CTRForConditionalGeneration, save_task_code
from modeling_ctr.convert_original_checkpoint import load_original_checkpoint, write_original_checkpoint

OPTIONS = {"max_new_tokens": 6, "no_repeat_ngram_size": 1, "do_sample": False}
CODE = [1, 7, 0, 3]


@pytest.fixture
def vectors(t5) -> torch.Tensor:
    """`(code_length, width)`, no code's."""
    return t5.prompt_vectors(torch.tensor([CODE]))[0].detach() + 0.3


@pytest.fixture
def inputs(tiny_batch):
    """Three inputs and nothing about their tasks."""

    def build(model):
        return {name: tiny_batch(model)[name] for name in ("input_ids", "attention_mask")}

    return build


# ------------------------------------------------------------------------------------------- vectors as they are


def test_vectors_of_a_code_do_what_the_code_does(model, inputs, tiny_batch):
    inputs, labels = inputs(model), tiny_batch(model)["labels"]
    vectors = model.prompt_vectors(torch.tensor([CODE]))[0]
    expected = model(**inputs, task_code=torch.tensor(CODE), labels=labels)
    for prompt_embeds in (vectors, vectors.expand(3, -1, -1)):
        output = model(**inputs, prompt_embeds=prompt_embeds, labels=labels)
        assert torch.equal(output.logits, expected.logits) and torch.equal(output.loss, expected.loss)
        assert output.vq_loss is None and output.task_codes is None
    for options in (OPTIONS, OPTIONS | {"num_beams": 3, "num_return_sequences": 2}):
        generated = model.generate(**inputs, prompt_embeds=vectors, **options)
        assert torch.equal(generated, model.generate(**inputs, task_code=CODE, **options))
    choices = labels[:, None].expand(-1, 2, -1)
    scores = model.choice_log_likelihoods(**inputs, choice_ids=choices, prompt_embeds=vectors)
    assert torch.equal(
        scores, model.choice_log_likelihoods(**inputs, choice_ids=choices, task_code=torch.tensor(CODE))
    )


def test_any_length_and_another_prompt_for_each_input(t5, inputs):
    inputs = inputs(t5)
    labels = torch.full((3, 2), 5)
    prompts = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(0))
    together = t5(**inputs, prompt_embeds=prompts, labels=labels)
    assert together.encoder_last_hidden_state.shape == (3, 7 + 9, 16)
    for row in range(3):
        alone = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        logits = t5(**alone, prompt_embeds=prompts[row], labels=labels[:1]).logits
        torch.testing.assert_close(logits[0], together.logits[row], atol=1e-5, rtol=1e-5)


def test_the_vectors_get_gradients(t5, tiny_batch, vectors):
    batch = tiny_batch(t5)
    del batch["task_id"]
    leaf = vectors.requires_grad_()
    t5(**batch, prompt_embeds=leaf).loss.backward()
    assert leaf.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in t5.task_codebook.parameters())


# ------------------------------------------------------------------------------------------- part of the model


def test_a_tuned_task_is_part_of_the_checkpoint(model, inputs, tmp_path):
    inputs = inputs(model)
    vectors = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(1))
    model.add_tuned_task("rte/v1.0", vectors[0])
    model.add_task("wic", CODE)
    model.add_tuned_task("cb", vectors[1])
    names = ["glue_mrpc", "glue_qqp", "ag_news", "wic", "rte/v1.0", "cb"]
    assert model.task_names == names
    for dtype in (torch.float32, torch.bfloat16):
        model.save_pretrained(tmp_path)
        loaded, info = CTRForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
        assert not any(info.values()) and loaded.dtype == dtype and loaded.task_names == names
        assert loaded.tuned_prompts.dtype == torch.float32 and torch.equal(loaded.tuned_prompts, vectors)
        for name, prompt_embeds in zip(("rte/v1.0", "cb"), vectors, strict=True):
            assert torch.equal(loaded.get_task_vectors(name), prompt_embeds)
            generated = loaded.generate(**inputs, task=name, **OPTIONS)
            assert torch.equal(generated, loaded.generate(**inputs, prompt_embeds=prompt_embeds, **OPTIONS))
            if dtype == torch.float32:
                assert torch.equal(generated, model.generate(**inputs, prompt_embeds=prompt_embeds, **OPTIONS))
        model = loaded


def test_without_tuned_tasks_nothing_of_them_is_saved(t5, vectors, tmp_path):
    t5.add_tuned_task("rte", vectors)
    t5.remove_task("rte")
    t5.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert "tuned_prompts" not in weights.keys()  # noqa: SIM118 - not a dict
    loaded, info = CTRForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and loaded.tuned_prompts is None


def test_the_vectors_of_any_task(t5, vectors):
    t5.add_task("wic", CODE)
    t5.add_tuned_task("rte", vectors)
    assert torch.equal(t5.get_task_vectors("rte"), vectors)
    for name in ("ag_news", "wic"):
        assert torch.equal(t5.get_task_vectors(name), t5.prompt_vectors(t5.get_task_code(name)[None])[0])
    vectors += 1  # a copy was taken
    assert not torch.equal(t5.get_task_vectors("rte"), vectors)


def test_as_the_default_task(t5, vectors, tiny_batch, tmp_path):
    batch = tiny_batch(t5)
    task_id = batch.pop("task_id")
    t5.add_tuned_task("rte", vectors)
    t5.config.default_task = "rte"
    t5.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    expected = t5(**batch, prompt_embeds=vectors)
    assert torch.equal(loaded(**batch).logits, expected.logits)
    assert not torch.equal(loaded(**batch, task_id=task_id).logits, expected.logits)  # a given task wins
    generated = loaded.generate(batch["input_ids"], attention_mask=batch["attention_mask"], **OPTIONS)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(generated, t5.generate(**inputs, prompt_embeds=vectors, **OPTIONS))


def test_removing_tasks(t5, vectors):
    for i, name in enumerate(("rte", "cb", "wsc")):
        t5.add_tuned_task(name, vectors + i)
    t5.add_task("wic", CODE)
    t5.config.default_task = "cb"
    t5.remove_task("cb")
    t5.remove_task("wic")
    assert t5.task_names == ["glue_mrpc", "glue_qqp", "ag_news", "rte", "wsc"] and t5.config.default_task is None
    assert torch.equal(t5.get_task_vectors("wsc"), vectors + 2)
    with pytest.raises(ValueError, match="no task 'cb'"):
        t5.remove_task("cb")
    with pytest.raises(ValueError, match="'ag_news' is a training task, which cannot be removed"):
        t5.remove_task("ag_news")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ag_news", lambda v: v, "There is already a task 'ag_news'"),
        ("wic", lambda v: v, "There is already a task 'wic'"),
        ("old", lambda v: v, "There is already a task 'old'"),
        ("rte", lambda v: v[:3], r"'rte' have shape \(3, 16\), but should have \(4, 16\)"),
        ("rte", lambda v: v[None], r"have shape \(1, 4, 16\)"),
        ("rte", lambda v: v / 0, "'rte' are not all finite"),
        (3, lambda v: v, "A task's name must be a string, but is 3"),
    ],
)
def test_what_cannot_be_added(name, change, message, t5, vectors):
    t5.add_task("wic", CODE)
    t5.add_tuned_task("old", vectors)
    with pytest.raises(ValueError, match=message):
        t5.add_tuned_task(name, change(vectors))
    assert t5.config.tuned_tasks == ["old"] and len(t5.tuned_prompts) == 1


def test_vectors_may_be_an_array(t5, vectors):
    t5.add_tuned_task("rte", vectors.double().numpy())
    assert torch.equal(t5.get_task_vectors("rte"), vectors)


def test_a_tuned_name_is_taken(t5, vectors):
    t5.add_tuned_task("rte", vectors)
    with pytest.raises(ValueError, match="There is already a task 'rte'"):
        t5.add_task("rte", CODE)


def test_a_tuned_task_has_no_code(t5, vectors, tmp_path):
    t5.add_tuned_task("rte", vectors)
    with pytest.raises(ValueError, match="'rte' is a tuned task: it has prompt vectors of its own and no code"):
        t5.get_task_code("rte")
    with pytest.raises(ValueError, match="'rte' is a tuned task"):
        save_task_code(t5, "rte", tmp_path / "rte.json")
    assert not (tmp_path / "rte.json").exists()


def test_a_config_that_names_too_many(t5, vectors, tmp_path):
    t5.add_tuned_task("rte", vectors)
    t5.config.tuned_tasks = ["rte", "cb"]
    t5.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'tuned_prompts' is \[1, 4, 16\], but should be \[2, 4, 16\]"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


# ------------------------------------------------------------------------------------------- beside other features


def test_training_leaves_them_alone(t5, vectors, tiny_batch):
    t5.add_tuned_task("rte", vectors)
    t5.train()
    assert "tuned_prompts" not in dict(t5.named_parameters())
    t5.requires_grad_(True)
    optimizer = torch.optim.AdamW(t5.parameters(), lr=1e-2, weight_decay=0.1)
    t5(**tiny_batch(t5)).loss.backward()
    assert all(parameter.grad is not None for parameter in t5.parameters())  # as DistributedDataParallel asks
    optimizer.step()
    assert torch.equal(t5.get_task_vectors("rte"), vectors)


def test_resizing_leaves_them_alone(t5, vectors):
    t5.add_tuned_task("rte", vectors)
    t5.resize_token_embeddings(80)
    assert torch.equal(t5.get_task_vectors("rte"), vectors)


def test_a_peft_model(t5, vectors, inputs, tmp_path):
    inputs = inputs(t5)
    config = LoraConfig(task_type=TaskType.SEQ_2_SEQ_LM, r=2, target_modules=["q", "v"], init_lora_weights=False)
    adapted = get_peft_model(t5, config).eval()
    adapted.add_tuned_task("rte", vectors)
    generated = adapted.generate(**inputs, task="rte", **OPTIONS)
    assert torch.equal(generated, adapted.generate(**inputs, prompt_embeds=vectors, **OPTIONS))
    labels = torch.full((3, 2), 5)
    logits = adapted(**inputs, prompt_embeds=vectors, labels=labels).logits
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(loaded.get_task_vectors("rte"), vectors)
    torch.testing.assert_close(
        loaded(**inputs, prompt_embeds=vectors, labels=labels).logits, logits, atol=1e-4, rtol=1e-4
    )


def test_the_originals_layout_has_no_place_for_them(tiny_ctr_model, vectors, tmp_path, caplog):
    model = tiny_ctr_model("t5-v1.1")
    model.add_tuned_task("rte", vectors)
    write_original_checkpoint(model, tmp_path)
    assert "the tuned tasks rte are left out" in caplog.text
    assert load_original_checkpoint(tmp_path).task_names == ["glue_mrpc", "glue_qqp", "ag_news"]


@pytest.mark.slow
def test_compiled(t5, vectors, tiny_batch):
    batch = tiny_batch(t5)
    del batch["task_id"]
    t5.add_tuned_task("rte", vectors)
    t5.config.default_task = "rte"
    torch._dynamo.reset()
    compiled = torch.compile(t5, fullgraph=True, backend="eager")
    expected = t5(**batch, prompt_embeds=vectors).logits
    for task in ({"prompt_embeds": vectors}, {}):
        torch.testing.assert_close(compiled(**batch, **task).logits, expected, atol=1e-5, rtol=1e-5)
