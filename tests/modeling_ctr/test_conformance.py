"""What transformers' common tests ask of any model, for every supported family with a default task.

Their mixins (`ConfigTester`, `ModelTesterMixin`, `GenerationTesterMixin`) are not installed with transformers, so the
checks are written out here. What other files of this folder test already (compiling, padding, dtypes, peft, remote code)
is not repeated. `NOT_APPLICABLE` names what those mixins test and we do not, with the reason.
"""

import copy
import inspect
import pickle

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedModel

from modeling_ctr import CTRConfig, CTRForCausalLM, CTRForConditionalGeneration

NOT_APPLICABLE = {
    "config_common_properties": "width, heads and layers are the language model's: they are in `text_config`",
    "create_and_test_config_with_num_labels": "no classification head",
    "problem_types": "no classification head",
    "feed_forward_chunking": "the supported families have none",
    "resize_position_vector_embeddings": "the supported families have none",
    "flash_attn": "the supported families refuse it, or it needs an accelerator",
    "model_parallelism, multi_gpu": "needs several accelerators",
    "assisted_decoding": "transformers itself refuses encoder-decoders with different encoders as assistants",
    "dola_decoding": "transformers: for decoder-only models",
    "contrastive_generate": "gone from transformers 5",
    "generate_continue_from_past_key_values": "transformers: for decoder-only models",
    "generate_from_inputs_embeds": "tested in test_generation.py: encoder-decoders take them for the encoder only",
    "logits_to_keep": "an argument of decoder-only models",
    "load_base_model_checkpoint": "loading a plain language model needs the number of tasks: tested below",
}


@pytest.fixture
def model(kind, tiny_ctr_model) -> CTRForConditionalGeneration:
    return tiny_ctr_model(kind, default_task="ag_news")


@pytest.fixture
def batch(model, tiny_batch) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tiny_batch(model).items() if name != "task_id"}


@pytest.fixture
def inputs(batch) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


OPTIONS = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "no_repeat_ngram_size": 1}


def test_reasons_are_given():
    assert all(NOT_APPLICABLE.values())


# ------------------------------------------------------------------------------------------------------ config


def test_config_makes_the_round_trip(model, tmp_path):
    config = model.config
    config.to_json_file(tmp_path / "config.json")
    assert CTRConfig.from_json_file(tmp_path / "config.json").to_dict() == config.to_dict()
    config.save_pretrained(tmp_path / "outer" / "inner")
    for loaded in (
        CTRConfig.from_pretrained(tmp_path / "outer", subfolder="inner"),
        AutoConfig.from_pretrained(tmp_path / "outer" / "inner"),
        CTRConfig.from_dict(config.to_dict()),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ):
        assert loaded.to_diff_dict() == config.to_diff_dict()
        assert type(loaded.get_text_config()) is type(config.text_config)


def test_config_without_arguments_and_with_common_ones():
    config = CTRConfig()
    assert config.text_config.model_type == "t5" and config.num_tasks == 1
    common = {"output_hidden_states": True, "chunk_size_feed_forward": 2, "dtype": "float16", "return_dict": False}
    config = CTRConfig(**common)
    for name, value in common.items():
        stored = getattr(config, name)
        assert stored == (torch.float16 if name == "dtype" and isinstance(stored, torch.dtype) else value), name


# ------------------------------------------------------------------------------------------------------- model


def test_class_is_as_transformers_expects(model):
    assert isinstance(model, PreTrainedModel) and isinstance(model, GenerationMixin) and model.can_generate()
    assert next(iter(inspect.signature(model.forward).parameters)) == model.main_input_name == "input_ids"
    assert "task" not in inspect.signature(model.forward).parameters


def test_the_same_twice_and_as_tuple(model, batch):
    with torch.no_grad():
        first, second, as_tuple = model(**batch), model(**batch), model(**batch, return_dict=False)
    assert torch.equal(first.logits, second.logits)
    assert isinstance(as_tuple, tuple) and len(as_tuple) == len(first.to_tuple())
    for value, expected in zip(as_tuple, first.to_tuple(), strict=True):
        assert not isinstance(value, torch.Tensor) or torch.equal(value, expected)


def test_saving_and_loading(model, batch, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size="20kB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    expected = model(**batch).logits
    loaded, info = CTRForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    by_auto_class = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    from_state = CTRForConditionalGeneration.from_pretrained(
        None, config=model.config, state_dict=model.state_dict()
    ).eval()
    for other in (loaded, by_auto_class, from_state):
        assert torch.equal(other(**batch).logits, expected)


def test_every_missing_weight_is_initialised(model):
    """Loaded from nothing, no parameter or buffer stays on the meta device or as the memory happened to be."""
    made = CTRForConditionalGeneration.from_pretrained(None, config=model.config, state_dict={})
    for name, tensor in made.state_dict().items():
        assert tensor.device.type == "cpu" and tensor.isfinite().all() and tensor.abs().max() < 1e3, name


def test_float32_lists_name_modules_and_do_not_overlap(model):
    model.add_tuned_task("tuned", torch.zeros(4, 16))
    tuned = CTRForConditionalGeneration(model.config)
    for each in (tuned, CTRForConditionalGeneration(CTRConfig(text_config=model.config.text_config))):
        lists = (each._keep_in_fp32_modules, each._keep_in_fp32_modules_strict)
        assert not set(lists[0]) & set(lists[1])
        parts = {part for name in each.state_dict() for part in name.split(".")}
        assert {name for names in lists for name in names} <= parts | {"wo"}  # of all T5s; mT5's feed-forward as well


def test_a_plain_language_model_gets_a_new_codebook_for_the_tasks_given(model, tmp_path):
    model.backbone.save_pretrained(tmp_path)
    loaded, info = CTRForConditionalGeneration.from_pretrained(
        tmp_path, task_names=["a", "b"], code_length=3, output_loading_info=True
    )
    assert loaded.config.num_tasks == 2 and loaded.task_codes().shape == (2, 3)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"task_codebook"}
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[name], tensor), name


def test_embeddings_may_be_replaced(model):
    new = torch.nn.Embedding(70, 16)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    head = torch.nn.Linear(16, 70, bias=False)
    model.set_output_embeddings(head)
    assert model.get_output_embeddings() is head


def test_resizing_tells_the_model_and_its_config(model, inputs):
    embeddings = model.resize_token_embeddings(74, pad_to_multiple_of=16)
    assert embeddings.num_embeddings == model.vocab_size == model.config.get_text_config().vocab_size == 80
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    assert model(**inputs, decoder_input_ids=torch.zeros(3, 1, dtype=torch.long)).logits.shape[-1] == 80


@pytest.mark.parametrize("where", ["call", "outer config"])
def test_attentions_and_hidden_states_where_asked(where, model, batch):
    model.set_attn_implementation("eager")
    asked = {"output_attentions": True, "output_hidden_states": True}
    if where == "outer config":
        for name, value in asked.items():
            setattr(model.config, name, value)
    output = model(**batch, **(asked if where == "call" else {}))
    layers, prompt_and_text, target = 2, 4 + 9, 5
    for states, length in ((output.encoder_hidden_states, prompt_and_text), (output.decoder_hidden_states, target)):
        assert len(states) == layers + 1 and states[0].shape == (3, length, 16)
    for attentions, shape in (
        (output.encoder_attentions, (prompt_and_text, prompt_and_text)),
        (output.decoder_attentions, (target, target)),
        (output.cross_attentions, (target, prompt_and_text)),
    ):
        assert len(attentions) == layers and attentions[0].shape == (3, 2, *shape)


def test_gradients_of_hidden_states_are_kept(model, batch):
    output = model(**batch, output_hidden_states=True)
    states = (output.encoder_hidden_states[0], output.decoder_hidden_states[0])
    for state in states:
        state.retain_grad()
    output.loss.backward()
    for state in states:
        assert state.grad is not None and state.grad.abs().sum() > 0


def test_texts_as_embeddings_give_the_same(model, batch):
    embeddings = model.backbone.get_encoder().get_input_embeddings()(batch["input_ids"])
    expected = model(**batch).logits
    assert torch.equal(model(**batch | {"input_ids": None, "inputs_embeds": embeddings}).logits, expected)


def test_copies_are_independent(model, batch):
    other = copy.deepcopy(model)
    assert torch.equal(other(**batch).logits, model(**batch).logits)
    other.add_task("rte", [0, 1, 2, 3])
    assert "rte" not in model.task_names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_exports_with_dynamic_sizes(kind, tiny_ctr_model, tiny_batch):
    """`torch.export` with batch and length as symbols, and the code as an input of the graph."""
    model = tiny_ctr_model(kind)
    batch, length, target = (torch.export.Dim(name, min=2, max=32) for name in ("batch", "length", "target"))
    inputs = tiny_batch(model)
    arguments = (
        inputs["input_ids"],
        inputs["attention_mask"],
        torch.tensor([[0, 1, 2, 3]] * 3),
        torch.tensor([[0, 5, 6, 7]] * 3),
    )
    shapes = ({0: batch, 1: length}, {0: batch, 1: length}, {0: batch}, {0: batch, 1: target})
    logits = Logits(model)
    graph = torch.export.export(logits, arguments, dynamic_shapes=shapes).module()
    others = (*(tensor[:2, :6] for tensor in arguments[:2]), torch.tensor([[7, 6, 5, 4]] * 2), arguments[3][:2, :3])
    for each in (arguments, others):
        torch.testing.assert_close(graph(*each), logits(*each), atol=1e-5, rtol=1e-5)


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, task_code, decoder_input_ids):
        return self.model(
            input_ids, attention_mask, task_code=task_code, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits


# -------------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True, "top_k": 5},
        {"num_beams": 2, "num_return_sequences": 2},
        {"num_beams": 2, "do_sample": True},
        {"num_beams": 2, "use_cache": False},
    ],
    ids=["greedy", "sampling", "beams", "beams and sampling", "beams without a cache"],
)
def test_everything_that_generate_can_return(options, model, inputs):
    model.set_attn_implementation("eager")
    asked = dict.fromkeys(("output_scores", "output_logits", "output_attentions", "output_hidden_states"), True)
    output = model.generate(**inputs, **OPTIONS | options, **asked, return_dict_in_generate=True)
    rows = 3 * options.get("num_return_sequences", 1)
    beams = 3 * options.get("num_beams", 1)
    assert output.sequences.shape == (rows, 5)
    assert len(output.scores) == len(output.logits) == 4 and output.logits[0].shape == (beams, 64)
    assert output.encoder_hidden_states[-1].shape == (3, 13, 16)  # the prompt's four positions are there
    assert output.encoder_attentions[0].shape == (3, 2, 13, 13)
    assert output.cross_attentions[0][0].shape[-1] == 13
    if options.get("use_cache", True):
        assert output.past_key_values.get_seq_length() == 4


def test_limits_of_length(model, inputs):
    assert model.generate(**inputs, max_length=5, min_length=5, no_repeat_ngram_size=1).shape[1] == 5
    assert model.generate(**inputs, **OPTIONS).shape[1] == 5  # the start token is not new


def test_generating_from_nothing_where_there_is_a_start_token(kind, model):
    if model.generation_config.bos_token_id is None:
        with pytest.raises(ValueError, match="text to answer is missing"):
            model.generate(**OPTIONS)
        return
    start = torch.tensor([[model.generation_config.bos_token_id]])
    assert torch.equal(model.generate(**OPTIONS), model.generate(start, **OPTIONS))


def test_encoder_outputs_instead_of_a_text(model, inputs):
    expected = model.generate(**inputs, **OPTIONS)
    encoded = model.get_encoder()(**inputs)
    given = {"encoder_outputs": encoded, "attention_mask": inputs["attention_mask"]}
    assert torch.equal(model.generate(**given, **OPTIONS), expected)


def test_prompt_lookup_gives_what_greedy_gives(model, inputs):
    if model.backbone.config.model_type == "bart" and Version(transformers.__version__) < Version("5.18"):
        pytest.skip("BART's prompt lookup ends at its first token in transformers 5.17, without a code as well")
    one = {name: tensor[:1] for name, tensor in inputs.items()}
    options = OPTIONS | {"no_repeat_ngram_size": 0}
    assert torch.equal(model.generate(**one, **options, prompt_lookup_num_tokens=2), model.generate(**one, **options))


def test_unknown_arguments_are_refused(model, inputs):
    with pytest.raises(ValueError, match="following `model_kwargs` are not used by the model.*foo"):
        model.generate(**inputs, **OPTIONS, foo="bar")


# ------------------------------------------------------------------------------------------- decoder-only models


@pytest.fixture(params=["prefix", "suffix"])
def causal(request, tiny_causal_model):
    return tiny_causal_model("llama", default_task="ag_news", code_position=request.param)


@pytest.fixture
def text() -> dict[str, torch.Tensor]:
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    return {"input_ids": torch.tensor([[2, 5, 6, 7, 8, 9], [2, 9, 8, 7, 0, 0]]), "attention_mask": mask}


def test_decoder_only_config_and_class(causal, tmp_path):
    causal.config.save_pretrained(tmp_path)
    for loaded in (AutoConfig.from_pretrained(tmp_path), pickle.loads(pickle.dumps(causal.config))):
        assert loaded.to_diff_dict() == causal.config.to_diff_dict() and not loaded.is_encoder_decoder
    assert causal.can_generate() and next(iter(inspect.signature(causal.forward).parameters)) == "input_ids"


@torch.no_grad()
def test_decoder_only_saving_loading_and_tuples(causal, text, tmp_path):
    expected = causal(**text)
    as_tuple = causal(**text, return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], expected.logits)
    causal.save_pretrained(tmp_path, max_shard_size="10kB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    loaded, info = CTRForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    made = CTRForCausalLM.from_pretrained(None, config=causal.config, state_dict=causal.state_dict()).eval()
    for other in (loaded, made, copy.deepcopy(causal)):
        assert torch.equal(other(**text).logits, expected.logits)
    from_nothing = CTRForCausalLM.from_pretrained(None, config=causal.config, state_dict={})
    for name, tensor in from_nothing.state_dict().items():
        assert tensor.device.type == "cpu" and tensor.isfinite().all() and tensor.abs().max() < 1e3, name


def test_decoder_only_embeddings(causal, text):
    causal.resize_token_embeddings(74, pad_to_multiple_of=16)
    assert causal.vocab_size == causal.config.get_text_config().vocab_size == causal(**text).logits.shape[-1] == 80
    new = torch.nn.Embedding(70, 16)
    causal.set_input_embeddings(new)
    assert causal.get_input_embeddings() is new


@pytest.mark.parametrize("where", ["call", "outer config"])
def test_decoder_only_attentions_and_hidden_states(where, causal, text):
    causal.set_attn_implementation("eager")
    asked = {"output_attentions": True, "output_hidden_states": True}
    if where == "outer config":
        for name, value in asked.items():
            setattr(causal.config, name, value)
    output = causal(**text, **(asked if where == "call" else {}))
    assert len(output.hidden_states) == 3 and output.hidden_states[0].shape == (2, 4 + 6, 16)
    assert len(output.attentions) == 2 and output.attentions[0].shape == (2, 2, 10, 10)


def test_decoder_only_generation_returns_all_that_is_asked_for(causal, text):
    causal.set_attn_implementation("eager")
    asked = dict.fromkeys(("output_scores", "output_logits", "output_attentions", "output_hidden_states"), True)
    for options in ({}, {"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True, "top_k": 5}):
        output = causal.generate(**text, **OPTIONS | options, **asked, return_dict_in_generate=True)
        rows = 2 * options.get("num_return_sequences", 1)
        assert output.sequences.shape == (rows, 6 + 4) and len(output.scores) == len(output.logits) == 4
        assert output.hidden_states[0][0].shape[1] == 10 and output.hidden_states[1][0].shape[1] == 1
        assert output.past_key_values.get_seq_length() == 4 + 6 + 3


@pytest.mark.slow
def test_decoder_only_exports_with_dynamic_sizes(causal, text):
    batch, length = (torch.export.Dim(name, min=2, max=32) for name in ("batch", "length"))
    arguments = (text["input_ids"], text["attention_mask"], torch.tensor([[0, 1, 2, 3]] * 2))
    shapes = ({0: batch, 1: length}, {0: batch, 1: length}, {0: batch})
    logits = CausalLogits(causal)
    graph = torch.export.export(logits, arguments, dynamic_shapes=shapes).module()
    more = (*(tensor.repeat(2, 1)[:3, :5] for tensor in arguments[:2]), torch.tensor([[7, 6, 5, 4]] * 3))
    for each in (arguments, more):
        torch.testing.assert_close(graph(*each), logits(*each), atol=1e-5, rtol=1e-5)


class CausalLogits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, task_code):
        return self.model(input_ids, attention_mask, task_code=task_code, use_cache=False).logits
