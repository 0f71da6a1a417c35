import json
import pickle
import sys

import numpy as np
import pytest
import torch

from modeling_ctr import CTRForConditionalGeneration
from modeling_ctr.convert_original_checkpoint import (
    CODEBOOK,
    LM_HEAD,
    WEIGHTS_FILE,
    convert_original_checkpoint,
    load_original_checkpoint,
    main,
    original_layout,
    write_original_checkpoint,
)

ORIGINAL_FIELDS = {"layer_norm_epsilon": 1e-5, "relative_attention_max_distance": 128}


@pytest.fixture
def model(tiny_ctr_model):
    """A model of the original's kind: T5 v1.1, with unequal depths to tell the stacks apart."""
    return tiny_ctr_model("t5-v1.1", text_fields=ORIGINAL_FIELDS | {"num_decoder_layers": 3})


@pytest.fixture
def original(model, tmp_path):
    """A folder in the original's layout, and how to change its tensors."""
    folder = tmp_path / "original"
    write_original_checkpoint(model, folder, step=7)

    def change(edit):
        path = folder / "7" / WEIGHTS_FILE
        checkpoint = torch.load(path, weights_only=True)
        edit(checkpoint["module"])
        torch.save(checkpoint, path)

    return folder, change


def assert_same_weights(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def test_there_and_back(model, original, tiny_batch):
    folder, _ = original
    loaded = load_original_checkpoint(folder)
    assert_same_weights(loaded.state_dict(), model.state_dict())
    assert loaded.task_names == model.task_names
    assert loaded.config.text_config.scale_decoder_outputs is False
    batch = tiny_batch(model)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    assert torch.equal(loaded(**batch).loss, model(**batch).loss)


def test_the_layout_written_is_the_originals(model, original):
    folder, _ = original
    assert (folder / "latest").read_text() == (folder / "latest_checkpointed_iteration.txt").read_text() == "7"
    assert json.loads((folder / "t0_task_names.json").read_text()) == model.task_names
    codebook = json.loads((folder / "codebok_step7.json").read_text())
    assert codebook == {name: str(model.get_task_code(name).tolist()) for name in model.task_names}
    module = torch.load(folder / "7" / WEIGHTS_FILE, weights_only=True)["module"]
    assert module[f"{CODEBOOK}vae_encoder"].shape == (4, 10, 12)
    assert module["decoder.transformer.layers.2.cross_attention.key_value.weight"].shape == (16, 16)


def test_added_tasks_travel_in_the_codebook(model, tmp_path):
    model.add_task("rte", [7, 0, 1, 2])
    write_original_checkpoint(model, tmp_path)
    loaded = load_original_checkpoint(tmp_path)
    assert loaded.config.added_task_codes == {"rte": [7, 0, 1, 2]}


def test_a_tied_head(tiny_ctr_model, tmp_path, tiny_batch):
    model = tiny_ctr_model("t5", text_fields=ORIGINAL_FIELDS | {"feed_forward_proj": "gated-gelu"})
    write_original_checkpoint(model, tmp_path)
    assert LM_HEAD not in torch.load(tmp_path / "0" / WEIGHTS_FILE, weights_only=True)["module"]
    loaded = load_original_checkpoint(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert loaded.config.text_config.scale_decoder_outputs is True
    batch = tiny_batch(model)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_bfloat16_weights_keep_their_dtype_and_the_codebook_gets_float32(original):
    folder, change = original
    change(lambda module: module.update({key: tensor.bfloat16() for key, tensor in module.items()}))
    loaded = load_original_checkpoint(folder)
    assert loaded.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in loaded.task_codebook.parameters())


@pytest.mark.parametrize("where", ["top", "step folder"])
def test_both_folders_are_understood(where, model, original, tmp_path):
    folder, _ = original
    convert_original_checkpoint(folder if where == "top" else folder / "7", tmp_path / "ours")
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path / "ours")
    assert_same_weights(loaded.state_dict(), model.state_dict())
    assert loaded.task_names == model.task_names
    loaded.tie_weights()
    assert_same_weights(loaded.state_dict(), model.state_dict())


def test_task_names(model, original, tmp_path):
    folder, _ = original
    names = tmp_path / "names.json"
    names.write_text(json.dumps(["x", "y", "z"]))
    assert load_original_checkpoint(folder, names).config.task_names == ["x", "y", "z"]
    (folder / "codebok_step7.json").unlink()
    (folder / "t0_task_names.json").unlink()
    assert load_original_checkpoint(folder).task_names == ["task_0", "task_1", "task_2"]
    names.write_text(json.dumps(["x", "y"]))
    with pytest.raises(ValueError, match="should be a list of 3 task names"):
        load_original_checkpoint(folder, names)
    names.write_text("[")
    with pytest.raises(ValueError, match="is not valid JSON"):
        load_original_checkpoint(folder, names)


def test_a_stale_codebook_does_not_matter(model, original):
    folder, _ = original
    path = folder / "codebok_step7.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ag_news": "[0, 0, 0, 0]"}))
    assert torch.equal(load_original_checkpoint(folder).task_codes(), model.task_codes())
    path.write_text(json.dumps({"ag_news": "__import__('os')"}))
    with pytest.raises(ValueError, match="'ag_news' in .* is no list of integers"):
        load_original_checkpoint(folder)
    path.write_text("[]")
    with pytest.raises(ValueError, match="should be a JSON object of tasks and their codes"):
        load_original_checkpoint(folder)


def test_the_command_line_both_ways(original, tmp_path, monkeypatch, capsys):
    folder, _ = original

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        main()

    run(folder, tmp_path / "ours")
    run(tmp_path / "ours", tmp_path / "back", "--reverse")
    before = torch.load(folder / "7" / WEIGHTS_FILE, weights_only=True)["module"]
    assert_same_weights(torch.load(tmp_path / "back/0" / WEIGHTS_FILE, weights_only=True)["module"], before)
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path / "none", tmp_path / "ours")
    assert "holds neither `latest`" in capsys.readouterr().err


def test_the_authors_checkpoint_there_and_back(shared, tmp_path):
    source = shared / "reference" / "original_tiny"
    if not source.is_dir():
        pytest.skip("no original checkpoint in ../shared/reference")
    convert_original_checkpoint(source, tmp_path / "ours")
    loaded = CTRForConditionalGeneration.from_pretrained(tmp_path / "ours")
    write_original_checkpoint(loaded, tmp_path / "back", step=20)
    reconstruct = np._core.multiarray._reconstruct
    allowed = [reconstruct, (reconstruct, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    with torch.serialization.safe_globals([*allowed, type(np.dtype(np.uint32))]):
        before = torch.load(source / "20" / WEIGHTS_FILE, weights_only=True)["module"]
    after = torch.load(tmp_path / "back/20" / WEIGHTS_FILE, weights_only=True)["module"]
    assert len(after) == 47
    assert_same_weights(after, before)
    for name in ("latest", "latest_checkpointed_iteration.txt", "codebok_step20.json", "t0_task_names.json"):
        assert (tmp_path / "back" / name).read_text() == (source / name).read_text()


# ------------------------------------------------------------------------------------------------------ bad input


def test_missing_and_unexpected_keys_are_named(original):
    folder, change = original
    change(lambda module: module.pop("encoder.transformer.layers.1.mlp.dense_4h_to_h.weight"))
    with pytest.raises(ValueError, match=r"it lacks encoder.transformer.layers.1.mlp.dense_4h_to_h.weight\.$"):
        load_original_checkpoint(folder)
    change(lambda module: module.update(extra=torch.zeros(1)))
    with pytest.raises(ValueError, match=r"it lacks encoder.*4h_to_h.weight and has too much extra\.$"):
        load_original_checkpoint(folder)


@pytest.mark.parametrize(
    "key", [f"{CODEBOOK}vae_encoder", "encoder.mixins.t5-attention.relative_attention_bias.weight"]
)
def test_a_checkpoint_of_something_else(key, original):
    folder, change = original
    change(lambda module: module.pop(key))
    with pytest.raises(ValueError, match=f"is no CTR checkpoint of the original implementation: it has no '{key}'"):
        load_original_checkpoint(folder)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        (f"{CODEBOOK}vae_decoder.weight", (16, 11), r"has the shape \[16, 11\], .* should have \[16, 12\]"),
        (f"{CODEBOOK}vae_encoder", (4, 10), r"has the shape \[4, 10\], but should have 3 dimensions"),
        ("decoder.transformer.layers.0.cross_attention.key_value.weight", (17, 16), r"should have \[16, 16\]"),
    ],
)
def test_misshaped_tensors_are_named(key, shape, message, original):
    folder, change = original
    change(lambda module: module.update({key: torch.zeros(shape)}))
    with pytest.raises(ValueError, match=f"'{key}' in .*{message}"):
        load_original_checkpoint(folder)


def test_differing_word_embeddings(original):
    folder, change = original
    change(lambda module: module.update({"decoder.transformer.word_embeddings.weight": torch.zeros(64, 16)}))
    with pytest.raises(ValueError, match="word embeddings in .* differ, but must be the same"):
        load_original_checkpoint(folder)


@pytest.mark.parametrize("length", [0, 100, 10_000])
def test_a_truncated_file(length, original):
    folder, _ = original
    path = folder / "7" / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises((OSError, ValueError), match=f"{WEIGHTS_FILE}'.* damaged"):
        load_original_checkpoint(folder)


def test_code_in_a_checkpoint_is_not_run(original, tmp_path):
    folder, _ = original

    class Payload:
        def __reduce__(self):
            return open, (str(tmp_path / "was_run"), "w")

    for write in (torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))):
        write({"module": {}, "payload": Payload()}, folder / "7" / WEIGHTS_FILE)
        with pytest.raises(ValueError, match="holds more than tensors and plain values"):
            load_original_checkpoint(folder)
    assert not (tmp_path / "was_run").exists()


def test_missing_files(original, tmp_path):
    folder, _ = original
    (folder / "latest").write_text("8")
    with pytest.raises(OSError, match=f"names the step folder .*8', but that holds no {WEIGHTS_FILE}"):
        load_original_checkpoint(folder)
    with pytest.raises(OSError, match=f"holds neither `latest` nor {WEIGHTS_FILE}"):
        load_original_checkpoint(tmp_path)
    (folder / "7" / "mp_rank_01_model_states.pt").touch()
    with pytest.raises(ValueError, match="saved with model parallelism"):
        load_original_checkpoint(folder / "7")


def test_a_file_without_weights(original):
    folder, _ = original
    torch.save({"weights": {}}, folder / "7" / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="is no DeepSpeed checkpoint: it holds no weights under 'module'"):
        load_original_checkpoint(folder)


@pytest.mark.parametrize("kind", ["t5", "mt5", "bart"])
def test_other_families_cannot_be_written(kind, tiny_ctr_model, tmp_path):
    with pytest.raises(ValueError, match="knows only T5 v1.1 models"):
        write_original_checkpoint(tiny_ctr_model(kind), tmp_path)


def test_a_head_that_the_original_would_scale_otherwise(tiny_ctr_model, tmp_path):
    model = tiny_ctr_model("t5", text_fields={"feed_forward_proj": "gated-gelu"})
    model.get_output_embeddings().weight = torch.nn.Parameter(torch.zeros(64, 16))
    with pytest.raises(ValueError, match="scales the decoder's output just where the head is tied"):
        write_original_checkpoint(model, tmp_path)


def test_the_layout_uses_each_of_our_tensors_once(model):
    parts = [part for parts in original_layout(model.config).values() for part in parts]
    aliases = {"backbone.encoder.embed_tokens.weight", "backbone.decoder.embed_tokens.weight"}
    assert set(parts) == model.state_dict().keys() - aliases
    assert sorted(set(parts)) == sorted(parts[1:])  # the word embeddings are in the original twice
