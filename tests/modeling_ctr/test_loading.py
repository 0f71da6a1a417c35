"""Saving, loading and changing the weights of very small models of every supported family."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MarianConfig, MarianMTModel
from transformers.quantizers.base import HfQuantizer

from modeling_ctr import CTRConfig, CTRForCausalLM, CTRForConditionalGeneration, modeling_ctr_causal

UNTIED = ["t5-v1.1", "mt5", "umt5"]
CODEBOOK = {
    "task_codebook.task_embedding.weight",
    "task_codebook.position_maps.weight",
    "task_codebook.code_vectors.weight",
    "task_codebook.prompt_decoder.weight",
}


@pytest.fixture(params=UNTIED)
def untied(request, tiny_ctr_model):
    return tiny_ctr_model(request.param)


def assert_same_weights(model, other) -> None:
    first, second = model.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for key in first:
        assert first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]), key


def is_tied(model) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


# -------------------------------------------------------------------------------------------------- save and load


def test_save_and_load_are_bit_equal(model, tiny_batch, tmp_path):
    batch = tiny_batch(model)
    expected = model(**batch)
    for folder in ("once", "twice"):
        model.save_pretrained(tmp_path / folder)
        model, info = CTRForConditionalGeneration.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert not any(info[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert not model.training
        output = model(**batch)
        assert torch.equal(output.logits, expected.logits) and torch.equal(output.loss, expected.loss)
    assert (tmp_path / "once/model.safetensors").read_bytes() == (tmp_path / "twice/model.safetensors").read_bytes()


def test_saved_in_shards(tiny_ctr_model, tmp_path):
    model = tiny_ctr_model("t5-v1.1")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_weights(CTRForConditionalGeneration.from_pretrained(tmp_path), model)


def test_auto_classes(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is CTRConfig
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(loaded) is CTRForConditionalGeneration
    assert_same_weights(loaded, model)


@pytest.fixture(params=["t5", "t5-v1.1", "mt5", "umt5", "bart", "llama-prefix", "llama-suffix"])
def either(request, tiny_ctr_model, tiny_causal_model):
    """A model of either class."""
    kind, _, position = request.param.partition("-")
    return tiny_causal_model(kind, code_position=position) if kind == "llama" else tiny_ctr_model(request.param)


def assert_as_long_as_words(model, plain) -> None:
    length = model.prompt_vectors(model.task_codes()).norm(dim=-1).mean().item()
    assert length == pytest.approx(plain.get_input_embeddings().weight.norm(dim=-1).mean().item(), rel=0.2)


def make_batch(model, tiny_batch) -> dict[str, torch.Tensor]:
    batch = tiny_batch(model)
    if not model.config.is_encoder_decoder:  # text and answer in one
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        batch["labels"][:, :2] = -100
    return batch


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_map(device_map, either, tiny_batch, tmp_path):
    model = either
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, device_map=device_map)
    assert_same_weights(loaded, model)
    batch = make_batch(model, tiny_batch)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    del batch["labels"]
    options = {"max_new_tokens": 3, "no_repeat_ngram_size": 1}
    assert torch.equal(loaded.generate(**batch, **options), model.generate(**batch, **options))


OFFLOADED = {
    "codebook": {"backbone": "cpu", "task_codebook": "disk", "tuned_prompts": "cpu"},
    "a part of it": {
        **{"backbone": "cpu", "task_codebook.task_embedding": "disk", "task_codebook.position_maps": "cpu"},
        **{"task_codebook.code_vectors": "cpu", "task_codebook.prompt_decoder": "disk", "tuned_prompts": "cpu"},
    },
    "everything": {"": "disk"},
}


@pytest.mark.parametrize("either", ["t5-v1.1", "llama-suffix"], indirect=True)
@pytest.mark.parametrize("device_map", OFFLOADED.values(), ids=list(OFFLOADED))
def test_an_offloaded_codebook(device_map, either, tiny_batch, tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(modeling_ctr_causal.logger, "warning", warnings.append)
    model = either
    model.add_tuned_task("rte", torch.randn(4, 16))
    model.save_pretrained(tmp_path / "model")
    options = {"device_map": device_map, "offload_folder": tmp_path / "offloaded"}
    loaded = type(model).from_pretrained(tmp_path / "model", **options)
    assert not warnings  # as if its prompt vectors were new
    assert torch.equal(loaded.task_codes(), model.task_codes())
    batch = make_batch(model, tiny_batch)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    batch = {"input_ids": batch["input_ids"], "max_new_tokens": 3, "no_repeat_ngram_size": 1}
    for task in ("ag_news", "rte"):
        assert torch.equal(loaded.generate(**batch, task=task), model.generate(**batch, task=task))
    loaded.save_pretrained(tmp_path / "again")
    assert_same_weights(type(model).from_pretrained(tmp_path / "again"), model)


@pytest.mark.parametrize("either", ["t5", "bart", "llama-prefix"], indirect=True)
@pytest.mark.parametrize("device_map", OFFLOADED.values(), ids=list(OFFLOADED))
def test_a_new_codebook_that_is_offloaded(device_map, either, tiny_batch, tmp_path):
    either.backbone.save_pretrained(tmp_path / "plain")
    options = {"device_map": device_map, "offload_folder": tmp_path / "offloaded", "codebook_size": 100}
    torch.manual_seed(1)
    model = type(either).from_backbone(tmp_path / "plain", num_tasks=50, **options)
    assert {parameter.device.type for parameter in model.task_codebook.parameters()} == {"cpu"}
    weights = {name.removesuffix(".weight"): tensor for name, tensor in model.task_codebook.named_parameters()}
    assert weights["task_embedding"].std().item() == pytest.approx(1, abs=0.1)
    assert weights["position_maps"].std().item() == pytest.approx(0.1, abs=0.01)
    assert 0.95 < weights["code_vectors"].abs().max() <= 1
    if model.config.is_encoder_decoder:
        assert 0.2 < weights["prompt_decoder"].abs().max() <= 0.25  # as nn.Linear has it, with 16 inputs
    else:  # as long as words
        assert_as_long_as_words(model, either.backbone)
    batch = make_batch(model, tiny_batch)
    loss = model(**batch).loss
    model.save_pretrained(tmp_path / "saved")
    loaded = type(either).from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded.task_codes(), model.task_codes()) and torch.equal(loaded(**batch).loss, loss)


def test_a_new_codebook_behind_offloaded_words(tiny_causal_model, tmp_path):
    plain = tiny_causal_model("llama").backbone
    plain.save_pretrained(tmp_path / "plain")
    parts = ("backbone.model.layers", "backbone.model.norm", "backbone.model.rotary_emb", "backbone.lm_head")
    device_map = {"backbone.model.embed_tokens": "disk", **dict.fromkeys((*parts, "task_codebook"), "cpu")}
    options = {"device_map": device_map, "offload_folder": tmp_path / "offloaded"}
    model = CTRForCausalLM.from_backbone(tmp_path / "plain", num_tasks=50, **options)
    assert model.get_input_embeddings().weight.is_meta
    assert_as_long_as_words(model, plain)


@pytest.mark.parametrize("skipped", [None, ["lm_head"]])
def test_quantisers_leave_the_codebook_alone(skipped, t5):
    kept = HfQuantizer.get_modules_to_not_convert(t5, skipped, t5._keep_in_fp32_modules)
    assert "task_codebook" in kept and "wo" in kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_codebook_stays_in_float32_in_every_dtype(dtype, model, tiny_batch, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    assert loaded.dtype == dtype
    for parameter in loaded.task_codebook.parameters():
        assert parameter.dtype == torch.float32
    assert loaded.get_input_embeddings().weight.dtype == dtype
    assert torch.equal(loaded.task_codes(), model.task_codes())
    assert loaded.prompt_vectors(loaded.task_codes()).dtype == dtype
    batch = tiny_batch(model)
    output, expected = loaded(**batch), model(**batch)
    assert output.logits.dtype == dtype and torch.equal(output.vq_loss, expected.vq_loss)
    assert (output.logits.float() - expected.logits).abs().mean() < 0.1 * expected.logits.std()
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in loaded.task_codebook.parameters())
    # Back from disk as it was, without being told.
    loaded.save_pretrained(tmp_path / "again")
    assert_same_weights(CTRForConditionalGeneration.from_pretrained(tmp_path / "again", dtype="auto"), loaded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_generation_in_half_precision(dtype, model, tiny_batch, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    generated = loaded.generate(tiny_batch(model)["input_ids"], task="ag_news", max_new_tokens=4, num_beams=2)
    assert generated.shape[0] == 3


@pytest.mark.parametrize("dtype", ["auto", torch.bfloat16, torch.float16])
def test_a_new_codebook_on_a_half_precision_language_model_is_in_float32(dtype, tiny_t5_config, tmp_path):
    AutoModelForSeq2SeqLM.from_config(tiny_t5_config("t5")).to(torch.bfloat16).save_pretrained(tmp_path)
    model = CTRForConditionalGeneration.from_backbone(tmp_path, num_tasks=2, dtype=dtype)
    assert model.dtype == (torch.bfloat16 if dtype == "auto" else dtype)
    assert all(p.dtype == torch.float32 for p in model.task_codebook.parameters())
    config = CTRConfig(text_config=tiny_t5_config("t5"), num_tasks=2)
    model = AutoModelForSeq2SeqLM.from_config(config, dtype=model.dtype)
    assert model.backbone.shared.weight.dtype == model.dtype
    assert all(p.dtype == torch.float32 for p in model.task_codebook.parameters())


# ------------------------------------------------------------------------------------- from a plain language model


def test_a_saved_model_names_no_folder_of_its_author(tiny_t5_config, tmp_path):
    plain = tmp_path / "secret" / "my-t5"
    AutoModelForSeq2SeqLM.from_config(tiny_t5_config("t5")).save_pretrained(plain)
    CTRForConditionalGeneration.from_backbone(plain, num_tasks=2).save_pretrained(tmp_path / "once")
    CTRForConditionalGeneration.from_pretrained(tmp_path / "once").save_pretrained(tmp_path / "twice")
    for folder in ("once", "twice"):
        files = {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        assert [name for name, content in files.items() if str(tmp_path).encode() in content] == []
        assert json.loads(files["config.json"])["text_config"]["_name_or_path"] == "my-t5"


def test_a_name_on_the_hub_is_kept(tiny_t5_config, tmp_path):
    text_config = tiny_t5_config("t5")
    text_config.name_or_path = "google/t5-large-lm-adapt"
    CTRConfig(text_config=text_config).save_pretrained(tmp_path)
    assert CTRConfig.from_pretrained(tmp_path).text_config.name_or_path == "google/t5-large-lm-adapt"


def test_a_plain_checkpoint_lacks_our_parameters_only(kind, tiny_ctr_model, tmp_path):
    plain = tiny_ctr_model(kind).backbone
    plain.save_pretrained(tmp_path)
    config = CTRConfig(text_config=AutoConfig.from_pretrained(tmp_path), task_names=["a", "b"], code_length=3)
    model, info = CTRForConditionalGeneration.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert set(info["missing_keys"]) == CODEBOOK and not info["unexpected_keys"]
    assert_same_weights(model.backbone, plain)
    assert is_tied(model) == (kind not in UNTIED)
    assert all(p.isfinite().all() for p in model.parameters())

    # The language model without a prompt is what it was, the scale of its output included.
    ids, labels = torch.tensor([[5, 6, 7, 1]]), torch.tensor([[8, 9, 1]])
    reference = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)(input_ids=ids, labels=labels)
    assert torch.equal(model.backbone(input_ids=ids, labels=labels).logits, reference.logits)

    model.save_pretrained(tmp_path / "ctr")
    assert_same_weights(CTRForConditionalGeneration.from_pretrained(tmp_path / "ctr"), model)


def test_from_backbone(kind, tiny_ctr_model, tiny_batch, tmp_path):
    plain = tiny_ctr_model(kind).backbone
    plain.save_pretrained(tmp_path)
    model = CTRForConditionalGeneration.from_backbone(
        tmp_path, task_names=["a", "b", "c"], code_length=5, codebook_size=9, commitment_cost=0.5, default_task="b"
    )
    assert_same_weights(model.backbone, plain)
    assert model.task_codes().shape == (3, 5)
    assert model.task_codebook.commitment_cost == 0.5 and model.config.default_task == "b"
    assert model.config.text_config.model_type == plain.config.model_type
    assert model(**tiny_batch(model)).loss.isfinite()


def test_from_backbone_passes_the_rest_to_from_pretrained(tiny_ctr_model, tmp_path):
    tiny_ctr_model("t5").backbone.save_pretrained(tmp_path / "inside")
    model = CTRForConditionalGeneration.from_backbone(
        tmp_path, num_tasks=2, subfolder="inside", dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert model.dtype == torch.bfloat16 and model.backbone.config._attn_implementation == "eager"


def test_v1_1_keeps_its_unscaled_output(tiny_ctr_model, tiny_batch, tmp_path):
    model = tiny_ctr_model("t5-v1.1")
    batch = tiny_batch(model)
    logits = model(**batch).logits
    hidden = model(**batch, output_hidden_states=True).decoder_hidden_states[-1]
    assert torch.equal(logits, model.get_output_embeddings()(hidden))
    model.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.backbone.config.scale_decoder_outputs is False
    assert torch.equal(loaded(**batch).logits, logits)


# ------------------------------------------------------------------------------------- untied heads and resizing


def test_untied_heads_stay_untied(untied, tiny_batch, tmp_path):
    batch = tiny_batch(untied)
    logits = untied(**batch).logits
    untied.tie_weights()
    assert not is_tied(untied)
    untied.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert not is_tied(loaded)
    loaded.tie_weights()
    assert not is_tied(loaded)
    assert torch.equal(loaded(**batch).logits, logits)
    # The encoder's and the decoder's word embeddings are still one tensor.
    assert loaded.backbone.get_encoder().get_input_embeddings().weight is loaded.get_input_embeddings().weight
    assert loaded.backbone.get_decoder().get_input_embeddings().weight is loaded.get_input_embeddings().weight


def test_a_loaded_untied_head_survives_resizing_at_once(untied, tmp_path):
    untied.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    loaded.resize_token_embeddings(70)
    assert not is_tied(loaded)
    assert torch.equal(loaded.get_output_embeddings().weight[:64], untied.get_output_embeddings().weight)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_tied_heads_stay_tied(kind, tiny_ctr_model, tmp_path):
    model = tiny_ctr_model(kind)
    model.tie_weights()
    model.resize_token_embeddings(70)
    model.save_pretrained(tmp_path)
    assert is_tied(model) and is_tied(CTRForConditionalGeneration.from_pretrained(tmp_path))


@pytest.mark.parametrize("size", [75, 60])
def test_resizing(size, model, tiny_batch, tmp_path):
    batch = tiny_batch(model)
    for name in ("input_ids", "labels"):
        batch[name] = batch[name].clamp(max=59)
    tied, logits = is_tied(model), model(**batch).logits
    model.resize_token_embeddings(size, mean_resizing=False)
    assert is_tied(model) == tied
    assert model.get_input_embeddings().weight.shape[0] == model.get_output_embeddings().weight.shape[0] == size
    assert model.config.text_config.vocab_size == model.backbone.config.vocab_size == size
    resized = model(**batch).logits
    kept = min(size, 64)
    assert resized.shape[-1] == size
    torch.testing.assert_close(resized[..., :kept], logits[..., :kept], atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path)
    assert_same_weights(loaded, model)
    assert is_tied(loaded) == tied
    assert torch.equal(loaded(**batch).logits, resized)
    generated = loaded.generate(batch["input_ids"], task="ag_news", max_new_tokens=3)
    assert generated.max() < size


# ------------------------------------------------------------------------------------------------------ bad input


def test_a_plain_directory_without_a_ctr_config(tiny_ctr_model, tmp_path):
    tiny_ctr_model("t5").backbone.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config of a 't5' model, not of a CTR model; .*from_backbone"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


def test_from_backbone_needs_to_know_the_tasks(tmp_path):
    with pytest.raises(ValueError, match="give `task_names` or `num_tasks`"):
        CTRForConditionalGeneration.from_backbone(tmp_path)


def test_an_unsupported_family(tmp_path):
    config = MarianConfig(
        vocab_size=32, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, pad_token_id=0, max_position_embeddings=16,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'marian', which CTR cannot wrap: its encoder is not known to treat"):
        CTRForConditionalGeneration.from_backbone(tmp_path, num_tasks=1)


def test_a_checkpoint_of_another_shape(tiny_ctr_model, tmp_path):
    model = tiny_ctr_model("t5")
    model.save_pretrained(tmp_path)
    fields = {"text_config": model.config.text_config, "num_tasks": 3, "task_embedding_dim": 10, "code_dim": 12}
    config = CTRConfig(**fields, code_length=4, codebook_size=9)
    with pytest.raises(ValueError, match=r"'task_codebook.code_vectors.weight' is \[8, 12\], but should be \[9, 12\]"):
        CTRForConditionalGeneration.from_pretrained(tmp_path, config=config)
    loaded, info = CTRForConditionalGeneration.from_pretrained(
        tmp_path, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert len(info["mismatched_keys"]) == 1
    assert torch.equal(loaded.task_codebook.task_embedding.weight, model.task_codebook.task_embedding.weight)


def test_a_config_that_was_changed_by_hand(tiny_ctr_model, tmp_path):
    tiny_ctr_model("t5").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code_length": 5}))
    with pytest.raises(ValueError, match=r"has another shape than the config: 'task_codebook.position_maps.weight'"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.parametrize("lost", ["task_codebook.code_vectors.weight", "tuned_prompts"])
def test_a_checkpoint_without_some_of_our_weights(lost, tiny_ctr_model, tmp_path):
    model = tiny_ctr_model("t5-v1.1")
    model.add_tuned_task("tuned", torch.ones(model.config.code_length, model.config.text_config.hidden_size))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"is not whole: its config asks for '{lost}', which it lacks"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 5000])
def test_a_truncated_file(length, tiny_ctr_model, tmp_path):
    tiny_ctr_model("t5").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(OSError, match="cannot be read .*the file is truncated or damaged"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


def test_an_empty_directory(tmp_path):
    with pytest.raises(OSError, match="no file named model.safetensors|config.json"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)


def test_a_directory_without_weights(tiny_ctr_model, tmp_path):
    tiny_ctr_model("t5").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        CTRForConditionalGeneration.from_pretrained(tmp_path)
