"""`generate`, on very small models of every supported family."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, set_seed

from modeling_ctr import CTRForConditionalGeneration

# Without repeats, since a random model with a tied head would give one token over and over.
OPTIONS = {"max_new_tokens": 8, "no_repeat_ngram_size": 1, "do_sample": False}


@pytest.fixture
def inputs(tiny_batch):
    def build(model):
        batch = tiny_batch(model)
        return {name: batch[name] for name in ("input_ids", "attention_mask", "task_id")}

    return build


def test_greedy_is_the_argmax_of_forward(model, inputs):
    inputs = inputs(model)
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": 1}
    generated = model.generate(**inputs, **options, output_logits=True, return_dict_in_generate=True)
    forward = model(**inputs, decoder_input_ids=generated.sequences[:, :-1]).logits
    torch.testing.assert_close(torch.stack(generated.logits, 1), forward, atol=1e-4, rtol=1e-4)


def test_codes_steer_the_generation(model, inputs):
    inputs = {name: tensor[:1].expand(8, -1) for name, tensor in inputs(model).items() if name != "task_id"}
    torch.manual_seed(0)
    codes = torch.randint(8, (8, 4))
    generated = model.generate(**inputs, **OPTIONS, task_code=codes)
    assert len(generated.unique(dim=0)) > 3
    # Together or alone, a code gives the same.
    for row in (0, 5):
        alone = model.generate(
            **{name: tensor[:1] for name, tensor in inputs.items()}, **OPTIONS, task_code=codes[row]
        )
        assert torch.equal(alone[0], generated[row, : alone.shape[1]])


def test_all_ways_to_name_a_task_agree(model, inputs):
    inputs = inputs(model)
    del inputs["task_id"]
    code = model.get_task_code("ag_news")
    ways = [
        {"task": "ag_news"},
        {"task_id": 2},
        {"task_id": [2, 2, 2]},
        {"task_id": torch.tensor([2, 2, 2])},
        {"task_code": code},
        {"task_code": code.tolist()},
        {"task_code": code.repeat(3, 1)},
        {"task_code": [code] * 3},
        {"task_code": code.numpy()},
        {"task": ["ag_news"] * 3},
    ]
    generated = [model.generate(**inputs, **way, **OPTIONS) for way in ways]
    model.config.default_task = "ag_news"
    generated.append(model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], **OPTIONS))
    for other in generated[1:]:
        assert torch.equal(other, generated[0])


def test_a_name_for_each_input(model, inputs):
    inputs = inputs(model)
    del inputs["task_id"]
    model.add_task("rte", [7, 0, 3, 3])
    model.add_tuned_task("cb", 2 * model.get_task_vectors("rte"))
    for names in (["ag_news", "glue_mrpc", "ag_news"], ["cb", "ag_news", "rte"]):
        for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
            generated = model.generate(**inputs, task=names, **OPTIONS, **options)
            per_input = len(generated) // 3
            for row, name in enumerate(names):
                one = {key: tensor[row : row + 1] for key, tensor in inputs.items()}
                alone = model.generate(**one, task=name, **OPTIONS, **options)
                together = generated[row * per_input : (row + 1) * per_input, : alone.shape[1]]
                assert torch.equal(together, alone)


@pytest.mark.parametrize("task", [["ag_news"], ["ag_news"] * 4, 2, ("glue_mrpc", "ag_news")])
def test_another_number_of_names(task, tiny_ctr_model, inputs):
    model = tiny_ctr_model("t5")
    inputs = {name: tensor for name, tensor in inputs(model).items() if name != "task_id"}
    for call in (model.generate, model, model.get_encoder()):
        with pytest.raises(ValueError, match="`task` must be a name, or a list of 3 names, one for each input"):
            call(**inputs, task=task)


def test_cached_equals_uncached(model, inputs):
    inputs = inputs(model)
    for options in ({}, {"num_beams": 3}):
        cached, uncached = (model.generate(**inputs, **OPTIONS, **options, use_cache=use) for use in (True, False))
        assert torch.equal(cached, uncached)


@pytest.mark.slow
def test_static_cache(model, inputs):
    inputs = inputs(model)
    expected = model.generate(**inputs, **OPTIONS)
    # Static caches are compiled for GPUs only.
    assert torch.equal(model.generate(**inputs, **OPTIONS, cache_implementation="static"), expected)


def test_beams_and_return_sequences(model, inputs):
    inputs = inputs(model)
    three = model.generate(**inputs, **OPTIONS, num_beams=4, num_return_sequences=3)
    best = model.generate(**inputs, **OPTIONS, num_beams=4)
    assert three.shape[0] == 9
    assert torch.equal(three[::3, : best.shape[1]], best)
    assert all(len(group.unique(dim=0)) == 3 for group in three.view(3, 3, -1))


def test_beams_find_no_worse_than_greedy(model, inputs):
    inputs = inputs(model)
    options = {"min_new_tokens": 5, "max_new_tokens": 5, "do_sample": False}

    def log_likelihood(sequences):
        log_probs = model(**inputs, decoder_input_ids=sequences[:, :-1]).logits.log_softmax(-1)
        return log_probs.gather(2, sequences[:, 1:, None]).sum((1, 2))

    greedy, beams = (model.generate(**inputs, **options, num_beams=n) for n in (1, 16))
    assert log_likelihood(beams).sum() >= log_likelihood(greedy).sum() - 1e-4


def test_sampling(model, inputs):
    inputs = inputs(model)
    runs = []
    for seed in (0, 0, 1):
        set_seed(seed)
        runs.append(
            model.generate(**inputs, do_sample=True, num_return_sequences=4, max_new_tokens=8, temperature=2.0)
        )
    assert runs[0].shape[0] == 12
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_padding_side_and_amount_do_not_change_the_result(model, inputs):
    inputs = inputs(model)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lefts = [torch.stack([row.roll(int(9 - m.sum())) for row, m in zip(x, mask, strict=True)]) for x in (ids, mask)]
    variants = [
        lefts,
        [F.pad(x, (0, 6)) for x in (ids, mask)],
        [F.pad(x, (6, 0)) for x in lefts],
        [F.pad(x, (3, 3)) for x in (ids, mask)],
    ]
    for options in ({}, {"num_beams": 3}):
        expected = model.generate(**inputs, **OPTIONS, **options)
        for input_ids, attention_mask in variants:
            padded = inputs | {"input_ids": input_ids, "attention_mask": attention_mask}
            assert torch.equal(model.generate(**padded, **OPTIONS, **options), expected)


def test_generation_config_of_a_plain_language_model_is_kept(tiny_t5_config, tmp_path):
    language_model = AutoModelForSeq2SeqLM.from_config(tiny_t5_config("t5"))
    language_model.generation_config.max_new_tokens = 3
    language_model.save_pretrained(tmp_path)
    model = CTRForConditionalGeneration.from_backbone(tmp_path, task_names=["a"])
    assert model.generate(torch.tensor([[5, 6, 1]]), task="a", min_new_tokens=3).shape == (1, 4)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_names_and_ids_together_are_refused(name, tiny_ctr_model, inputs):
    model = tiny_ctr_model(name)
    with pytest.raises(ValueError, match="one of `task`, `task_id`, `task_code` and `prompt_embeds`, not several"):
        model.generate(**inputs(model), task="ag_news")


def test_no_text_is_refused(tiny_ctr_model):
    model = tiny_ctr_model("t5")
    for call in (model.generate, model, model.get_encoder()):
        task = {"task": "ag_news"} if call == model.generate else {"task_id": torch.tensor([2])}
        with pytest.raises(ValueError, match="text to answer is missing: give `input_ids` or `inputs_embeds`"):
            call(**task)


def test_the_text_may_be_given_as_embeddings(model, inputs):
    inputs = inputs(model)
    expected = model.generate(**inputs, **OPTIONS)
    embeddings = model.backbone.get_encoder().get_input_embeddings()(inputs["input_ids"])
    generated = model.generate(**inputs | {"input_ids": None, "inputs_embeds": embeddings}, **OPTIONS)
    assert torch.equal(generated, expected)
