import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MarianConfig, T5Config, UMT5Config

from modeling_ctr import CTRConfig


def test_defaults_are_the_papers_and_the_language_models():
    config = CTRConfig(text_config=T5Config(d_model=48))
    assert (config.code_length, config.codebook_size, config.commitment_cost) == (10, 128, 0.1)
    assert (config.task_embedding_dim, config.code_dim) == (48, 48)
    assert (config.num_tasks, config.task_names) == (1, ["task_0"])
    assert config.is_encoder_decoder
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id) == (0, 1, 0)


def test_get_text_config_is_the_language_models():
    config = CTRConfig(text_config=T5Config(d_model=48, num_heads=3))
    assert config.get_text_config() is config.text_config
    assert config.get_text_config(decoder=True).num_attention_heads == 3


@pytest.mark.parametrize("kind", ["t5", "t5-v1.1", "mt5", "umt5", "bart"])
def test_save_and_load(kind, tiny_t5_config, tmp_path):
    config = CTRConfig(
        text_config=tiny_t5_config(kind),
        task_names=["b", "a"],
        code_length=2,
        codebook_size=4,
        added_task_codes={"c": [3, 0]},
        tuned_tasks=["d/e.f"],
        default_task="c",
    )
    config.save_pretrained(tmp_path)
    for loaded in (CTRConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is CTRConfig and type(loaded.text_config) is type(config.text_config)
        where = {"_name_or_path": None, "transformers_version": None}
        assert loaded.to_dict() | where == config.to_dict() | where


def test_v1_1_keeps_its_unscaled_decoder_output(tiny_t5_config, tmp_path):
    config = CTRConfig(text_config=tiny_t5_config("t5-v1.1"))
    for i in range(2):
        config.save_pretrained(tmp_path / str(i))
        config = CTRConfig.from_pretrained(tmp_path / str(i))
        assert config.text_config.scale_decoder_outputs is False


@pytest.mark.parametrize("field", ["num_tasks", "code_length", "codebook_size", "task_embedding_dim", "code_dim"])
def test_sizes_must_be_positive(field):
    with pytest.raises(ValueError, match=f"`{field}` must be at least 1, but is 0"):
        CTRConfig(**{field: 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [("code_length", "ten"), ("codebook_size", 12.5), ("task_names", "glue"), ("added_task_codes", [[1]])],
)
def test_types_are_checked(field, value):
    with pytest.raises(Exception, match=field):
        CTRConfig(**{field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"commitment_cost": -1}, "`commitment_cost` must not be negative, but is -1"),
        ({"task_names": ["a"], "num_tasks": 2}, "`task_names` has 1 names, but `num_tasks` is 2"),
        ({"task_names": []}, "`num_tasks` must be at least 1"),
        ({"task_names": ["a", "a"]}, "'a' appears twice"),
        ({"task_names": ["a"], "added_task_codes": {"a": [0] * 10}}, "'a' appears twice"),
        ({"added_task_codes": {"a": [0] * 10}, "tuned_tasks": ["a"]}, "'a' appears twice"),
        ({"added_task_codes": {"new": [0] * 9}}, "'new'.* has 9 integers, but a task code of this model has 10"),
        ({"added_task_codes": {"new": [0] * 9 + [128]}}, r"'new'.* the value 128 at position 9, .*\(0 to 127\)"),
        ({"added_task_codes": {"new": [-1] * 10}}, "'new'.* the value -1 at position 0"),
        ({"default_task": "b"}, "`default_task` is 'b', which is not the name of any task"),
    ],
)
def test_ranges_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        CTRConfig(**fields)


def test_unsupported_families_are_refused_with_the_reason():
    with pytest.raises(
        ValueError, match="'marian', which CTR cannot wrap: .*`inputs_embeds`.*supported are bart, longt5, mt5"
    ):
        CTRConfig(text_config=MarianConfig(d_model=16))


@pytest.mark.parametrize("kind", ["mbart", "plbart"])
def test_families_whose_answers_do_not_start_alike_are_refused(kind):
    config = AutoConfig.for_model(
        kind, vocab_size=32, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=16, pad_token_id=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"'{kind}', which CTR cannot wrap: its decoder starts with the last token"):
        CTRConfig(text_config=config)
    # So it does; its encoder would do.
    plain = AutoModelForSeq2SeqLM.from_config(config).eval()
    starts = plain.prepare_decoder_input_ids_from_labels(torch.tensor([[5, 6, 7], [5, 6, 8]]))[:, 0]
    assert starts.tolist() == [7, 8]
    ids, encoder = torch.tensor([[5, 6, 7]]), plain.get_encoder()
    assert torch.equal(encoder(ids)[0], encoder(inputs_embeds=encoder.get_input_embeddings()(ids))[0])


def test_umt5_is_refused_where_transformers_has_it_wrong(monkeypatch):
    monkeypatch.setattr("modeling_ctr.configuration_ctr.__version__", "5.17.1")
    with pytest.raises(ValueError, match="UMT5 is wrong in transformers 5.17.1: .* install transformers 5.18"):
        CTRConfig(text_config=UMT5Config(d_model=16))


def test_a_plain_language_models_directory_is_refused_with_what_to_call(tiny_t5_config, tmp_path):
    tiny_t5_config("t5").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config of a 't5' model, not of a CTR model; .*from_backbone"):
        CTRConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"num_tasks": 3}, "^`task_names` has 2 names, but `num_tasks` is 3"),
        ({"code_length": "ten"}, "^The config of the CTR model is wrong: .*'code_length'.* expected int, got str"),
        ({"task_names": [None] * 1000}, r"^The config of the CTR model is wrong: .*'task_names'.{1,400}\[\.\.\.\]$"),
    ],
)
def test_a_config_changed_by_hand_is_checked_when_loaded(field, message, tmp_path):
    CTRConfig(task_names=["a", "b"]).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | field))
    with pytest.raises(ValueError, match=message):
        CTRConfig.from_pretrained(tmp_path)
