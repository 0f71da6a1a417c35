"""A tokenizer as tasks use it: checked against its model, told apart from others, and with one EOS at the end."""

import hashlib
import json
from typing import Any

from transformers import PreTrainedTokenizerBase


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab_size: int, decoder_only: bool = False) -> None:
    """Checks that a tokenizer can serve a model.

    Args:
        tokenizer: The tokenizer.
        vocab_size: Number of rows of the model's input embedding.
        decoder_only: Whether the model is; most have no padding token, and batches are filled up with EOS.

    Raises:
        ValueError: It has no EOS or padding token, or makes ids that the model has no embedding for.
    """
    name = tokenizer.name_or_path or type(tokenizer).__name__
    for token, token_id in (("EOS", tokenizer.eos_token_id), ("padding", tokenizer.pad_token_id)):
        if token_id is None and not (token == "padding" and decoder_only):
            raise ValueError(f"The tokenizer {name!r} has no {token} token; set one that the model was trained with.")
    highest = max(tokenizer.get_vocab().values())
    if highest >= vocab_size:
        raise ValueError(
            f"The tokenizer {name!r} makes ids up to {highest}, but the model has embeddings for {vocab_size} tokens "
            "only; use the tokenizer that the model was trained with."
        )


def compute_tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of everything about a tokenizer that decides about the ids it makes."""
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        # State that calls leave behind, not part of what the tokenizer is.
        backend.pop("truncation")
        backend.pop("padding")
        state = backend
    else:
        state = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), tokenizer("a b").input_ids]
    return compute_digest([state, tokenizer.eos_token_id])


def compute_digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: list[str], target: bool = False) -> list[list[int]]:
    """Ids of each text, without truncation, with one EOS at the end."""
    if not texts:
        return []
    # verbose=False: the warning about long texts would come before we shorten them.
    encoded = tokenizer(**{"text_target" if target else "text": texts}, verbose=False)
    eos = tokenizer.eos_token_id
    return [ids if ids and ids[-1] == eos else [*ids, eos] for ids in encoded["input_ids"]]


def tokenize_openings(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Ids of texts that are to be gone on with: without truncation, and without an EOS at the end."""
    if not texts:
        return []
    eos = tokenizer.eos_token_id
    encoded = tokenizer(texts, verbose=False)["input_ids"]
    # A beginning may be marked by the same token as an end (GPT-2).
    return [ids[:-1] if len(ids) > 1 and ids[-1] == eos else ids for ids in encoded]


def tokenize_answers(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Ids of each text as it goes on behind another, after a space, with one EOS at the end."""
    if not texts:
        return []
    # Tokenizers differ in whether the space is a token's first character, a mark of its own or added without one; so
    # texts are tokenized behind a word, whose ids are then left out.
    word = tokenizer("a", add_special_tokens=False)["input_ids"]
    encoded = tokenizer([f"a {text}" if text else "a" for text in texts], add_special_tokens=False, verbose=False)
    eos = tokenizer.eos_token_id
    answers = [ids[len(word) :] for ids in encoded["input_ids"]]
    return [ids if ids and ids[-1] == eos else [*ids, eos] for ids in answers]


def cut_at_end(ids: list[int], length: int) -> list[int]:
    return ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]
