"""Tokenizers and template files that the tests of tasks share."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "fish",
    "sat",
    "ran",
    "flew",
    "swam",
    "on",
    "under",
    "mat",
    "tree",
    "sky",
    "sea",
    "good",
    "bad",
    "yes",
    "no",
    "maybe",
    "what",
    "did",
    "who",
    "where",
    "long",
    "short",
    "is",
    "was",
    "it",
    "he",
    "she",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
]


def _build_tokenizer(adds_eos: bool = True, words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_eos:
        backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", name_or_path="words"
    )


@pytest.fixture
def words() -> list[str]:
    return WORDS


@pytest.fixture
def build_tokenizer():
    """`build_tokenizer(adds_eos=True, words=WORDS)`: one token per word; ids 0 pad, 1 eos, 2 unk, then the words."""
    return _build_tokenizer


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return _build_tokenizer()


@pytest.fixture
def write_json_lines():
    def write(path: Path, rows: list[dict]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    """What `datasets` caches goes to a folder of the test's own."""
    folder = tmp_path_factory.mktemp("datasets_cache")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
    return folder
