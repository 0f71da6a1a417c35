"""Inputs that are too long lose the end of their longest fields, and never the question or the answer choices."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from .errors import TemplateError
from .task import Example, Task

# A shortened input may leave so many tokens unused.
_SLACK = 3


def shorten_input(
    ids: list[int],
    task: Task,
    row: Mapping[str, Any],
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    tokenize_inputs: Callable[[list[str]], list[list[int]]],
) -> list[int] | None:
    """Input ids that fit, or None where no cut makes them: of the context fields, those longer than some number of tokens lose what comes after it, and
    the row is rendered again. The greatest such number is looked for; what overflows is a guess that mostly hits."""
    row = copy.deepcopy(dict(row))
    seed = task.template.row_seed(row)
    fields = [list(_texts(row, name)) for name in sorted(task.template.context_fields) if name in row]
    texts = [[_CuttableText(tokenizer, container[key]) for container, key in leaves] for leaves in fields]
    lengths = [sum(text.length for text in field) for field in texts]
    best = None
    low, high = 0, max(lengths, default=0)  # `high` does not fit
    guess = _common_length(lengths, sum(lengths) - (len(ids) - max_length))
    missed = False
    while low < high:
        for leaves, field in zip(fields, texts, strict=True):
            left = guess
            for (container, key), text in zip(leaves, field, strict=True):
                container[key] = text.first_tokens(left)
                left = max(0, left - text.length)
        try:
            shortened = task.example(row, seed=seed, check_answer=False)
        except TemplateError:  # such as a template that splits a field at a mark that has been cut off
            break
        if shortened is None or shortened[1:] != example[1:]:
            break
        shorter = tokenize_inputs([shortened.input_text])[0]
        surplus = len(shorter) - max_length
        if surplus <= 0:
            best, low = shorter, guess + 1
            if surplus >= -_SLACK:
                break
            guess = (low + high) // 2
        else:
            high = guess
            # A cut inside a word may make a token more; a second miss means that fields stand more than once.
            guess = (low + high) // 2 if missed else max(low, guess - surplus)
            missed = True
    return best


def _texts(container: Any, key: Any) -> Iterator[tuple[Any, Any]]:
    """Where the texts of a field stand, as (dict or list, key) pairs, nested ones included."""
    value = container[key]
    if isinstance(value, str):
        yield container, key
    elif isinstance(value, dict):
        for name in value:
            yield from _texts(value, name)
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _texts(value, index)


def _common_length(lengths: list[int], total: int) -> int:
    """The greatest length that, cutting all longer ones to it, leaves at most `total`; at least 0."""
    remaining = max(total, 0)
    for position, length in enumerate(sorted(lengths)):
        share = remaining // (len(lengths) - position)
        if length > share:
            return share
        remaining -= length
    return max(lengths, default=0)


class _CuttableText:
    """A text, tokenized once, of which the first so many tokens are wanted."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str):
        self.tokenizer = tokenizer
        self.text = text
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
        self.ids = encoded["input_ids"]
        self.ends = [end for _, end in encoded["offset_mapping"]] if tokenizer.is_fast else None

    @property
    def length(self) -> int:
        return len(self.ids)

    def first_tokens(self, count: int) -> str:
        if count >= self.length:
            return self.text
        if self.ends is None:
            return self.tokenizer.decode(self.ids[:count])
        return self.text[: self.ends[count - 1]] if count else ""
