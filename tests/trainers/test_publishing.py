import pytest
from transformers import T5Config

from modeling_ctr import CTRConfig
from trainers.publishing import list_published_files


@pytest.fixture
def folder(tmp_path):
    for name in (
        "config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "README.md", "modeling_ctr.py", "spiece.model",
        ".env", "notes.md", "private.safetensors", "secret.py", "training_args.bin", "_arguments.json", "trainer_state.json",
    ):  # fmt: skip
        (tmp_path / name).write_text("x")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    (tmp_path / "generation_config.json").symlink_to(tmp_path / ".env")
    return tmp_path


def test_only_what_is_the_model_is_published(folder):
    files = [
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    assert list_published_files(folder, T5Config()) == files
    assert list_published_files(folder, CTRConfig()) == sorted([*files, "modeling_ctr.py"])
    tokenizer = type("Tokenizer", (), {"vocab_files_names": {"vocab_file": "spiece.model"}})
    assert list_published_files(folder, T5Config(), tokenizer) == sorted([*files, "spiece.model"])
