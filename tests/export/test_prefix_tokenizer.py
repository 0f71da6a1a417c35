"""Tokenizers that eat or add spaces around added tokens, and those that put a token before all."""

import copy

import pytest
from tokenizers import pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizer

from export.prefix_tokenizer import SAMPLES, PrefixTokenizer

TOKENS = [f"<c{i}>" for i in range(12)]


def build(tokenizer, num_rows=400, max_positions=None) -> PrefixTokenizer:
    return PrefixTokenizer(tokenizer, num_rows, TOKENS, 3, max_positions)


def with_spaces(tokenizer, scheme: str):
    """A copy that makes a word of "▁" and what follows: before all texts, or at their beginning alone."""
    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    return changed


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_a_text_is_the_same_behind_a_code(scheme, sentencepiece_like):
    tokenizer = with_spaces(sentencepiece_like, scheme)
    prefixed = build(tokenizer)
    assert prefixed.start == (" " if scheme == "first" else "")
    code = [400 + 3, 400 + 11, 400 + 1]  # "<c1>" is the beginning of "<c11>"
    for text in (*SAMPLES, "<c1", "c1>", "a < b"):
        ids = prefixed.tokenizer("<c3><c11><c1>" + prefixed.start + text)["input_ids"]
        assert ids == code + tokenizer(text)["input_ids"]


def test_a_start_token_comes_behind_the_code(byte_level):
    prefixed = build(byte_level)
    ids = prefixed.tokenizer("<c0><c1><c2>" + prefixed.start + "a text")["input_ids"]
    assert prefixed.start == "<s>" and ids == [400, 401, 402, *byte_level("a text")["input_ids"]]
    pair = prefixed.tokenizer("<c0><c1><c2>" + prefixed.start, "a text")["input_ids"]
    assert pair == ids


def test_a_tokenizer_without_the_library(sentencepiece_like):
    tokenizer = ByT5Tokenizer()
    prefixed = build(tokenizer)
    ids = prefixed.tokenizer("<c0><c1><c2>a text")["input_ids"]
    assert ids == [400, 401, 402, *tokenizer("a text")["input_ids"]] and ids[-1] == tokenizer.eos_token_id


def test_spare_rows_are_passed_over(sentencepiece_like):
    prefixed = build(sentencepiece_like, num_rows=len(sentencepiece_like) + 5)
    assert prefixed.tokenizer.convert_tokens_to_ids("<c0>") == len(sentencepiece_like) + 5
    assert build(sentencepiece_like, num_rows=len(sentencepiece_like)).tokenizer.convert_tokens_to_ids("<c0>") == len(
        sentencepiece_like
    )


def test_the_longest_text_counts_the_code(sentencepiece_like):
    assert build(sentencepiece_like).tokenizer.model_max_length == 43
    assert build(sentencepiece_like, max_positions=41).tokenizer.model_max_length == 41


class Spaced(PreTrainedTokenizer):
    """Begins texts with a special token, in Python."""

    def __init__(self, **kwargs):
        super().__init__(bos_token="<s>", unk_token="<unk>", **kwargs)

    vocab_size = 3

    def get_vocab(self):
        return {"<s>": 0, "<unk>": 1, "a": 2} | self.added_tokens_encoder

    def _tokenize(self, text):
        return text.split()

    def _convert_token_to_id(self, token):
        return {"<s>": 0, "<unk>": 1, "a": 2}.get(token, 1)

    def _convert_id_to_token(self, index):
        return ["<s>", "<unk>", "a"][index]

    def build_inputs_with_special_tokens(self, ids, other=None):
        return [0, *ids, *(other or [])]


def test_what_cannot_be_exported_is_said(sentencepiece_like):
    taken = copy.deepcopy(sentencepiece_like)
    taken.add_tokens(["<c3>"])
    with pytest.raises(ValueError, match="The tokenizer has the token '<c3>' already, which codes are to be written"):
        build(taken)
    with pytest.raises(ValueError, match="has 49 tokens, but the word embedding 40 rows: they do not belong together"):
        build(sentencepiece_like, num_rows=40)
    with pytest.raises(ValueError, match="Spaced begins texts with a special token .* Load a fast tokenizer"):
        build(Spaced())
