"""Rows to token ids: what the model is trained on, and what codes are scored on.

Columns (one row per example; padding is the collator's business):

- `input_ids`: list of int32, ends in EOS.
- `labels`: list of int32, the target, ends in EOS.
- `task_id`: int64.

and for evaluation and search also

- `choice_ids`: one list of int32 per answer choice, each ending in EOS; no such column for free-form tasks.
- `answer`: int64, index of the gold choice, -1 where it is unknown or the task has no choices.
- `row`: int64, position in the given rows, by which the examples of several templates of a data set are matched.
- `target_text`: string, the target as the row has it, neither cut nor tokenised; for free-form tasks only.

`datasets` keeps the result on disk beside the rows it was made from. Its fingerprint is ours: of the rows, the template,
the tokenizer and the lengths, so that a change to one of them makes new features and a change elsewhere does not.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .errors import DataError, TemplateError
from .task import Example, Task

logger = logging.get_logger(__name__)

# Part of every fingerprint: raise it when other features are made of the same rows.
FORMAT_VERSION = 3
# A shortened input may leave so many tokens unused.
_SLACK = 3

_TRAINING_FEATURES = {"input_ids": List(Value("int32")), "labels": List(Value("int32")), "task_id": Value("int64")}


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


class FeatureBuilder:
    """Makes features of rows.

    Args:
        tokenizer: Its EOS is put at the end of inputs, targets and choices unless it does so itself.
        max_source_length: Greatest number of tokens of an input, EOS included. Longer ones lose the end of the
            row's longest field, never question or choices; only where that is not enough are they cut at the end.
        max_target_length: Greatest number of tokens of a target or a choice, EOS included.
        num_proc: Processes to tokenise with; None is this one.
        decoder_only: Whether text and answer are read as one sequence: no EOS then ends an input, and targets and choices
            are tokenised as what goes on behind it, after a space and without a token for a beginning.

    Raises:
        ValueError: The tokenizer has no EOS token, or a length is less than 1.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_source_length: int = 384,
        max_target_length: int = 32,
        num_proc: int | None = None,
        decoder_only: bool = False,
    ):
        if tokenizer.eos_token_id is None:
            raise ValueError(
                f"The tokenizer {tokenizer.name_or_path!r} has no EOS token; inputs and targets need one."
            )
        for name, length in (("max_source_length", max_source_length), ("max_target_length", max_target_length)):
            if length < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {length}.")
        self.tokenizer = tokenizer
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.num_proc = num_proc
        self.decoder_only = decoder_only
        self._settings = [FORMAT_VERSION, tokenizer_fingerprint(tokenizer), max_source_length, max_target_length]
        if decoder_only:
            self._settings.append("decoder_only")

    def training(self, task: Task, rows: Dataset, task_id: int) -> Dataset:
        """Features to train on. Rows without label, and rows that the task does not apply to, are left out.

        Raises:
            TemplateError: The template fails on a row.
            DataError: No row is left.
        """
        return self._build(task, rows, task_id, evaluation=False)

    def streaming(self, task: Task, rows: IterableDataset, task_id: int) -> IterableDataset:
        """As `training`, made when they are asked for."""
        return rows.map(
            self._features_of(task, task_id, evaluation=False),
            with_indices=True,
            batched=True,
            batch_size=100,
            remove_columns=rows.column_names or list(next(iter(rows), {})),
            features=Features(_TRAINING_FEATURES),
        )

    def evaluation(self, task: Task, rows: Dataset, task_id: int = -1, labelled_only: bool = False) -> Dataset:
        """Features to score and search on. Rows without a known answer are kept where the task has answer choices.

        Args:
            task: The task.
            rows: Rows of its data set.
            task_id: Position of a training task among the model's; -1 for a task that the model was not trained on.
            labelled_only: Leave out the rows without a known answer, with a warning that counts them.

        Raises:
            TemplateError: The template fails on a row.
            DataError: No row is left.
        """
        features = self._build(task, rows, task_id, evaluation=True)
        if not task.has_choices:
            return features
        _warn_of_like_choices(task, features)
        _warn_of_targets_outside_choices(task, rows, features)
        if not labelled_only:
            return features
        known = [position for position, answer in enumerate(features["answer"]) if answer >= 0]
        if not known:
            raise DataError(f"Task {task.name!r}: none of its {len(rows)} rows has a known answer.")
        if len(known) < len(features):
            logger.warning(
                f"Task {task.name!r}: {len(features) - len(known)} of {len(rows)} rows have no known answer and are "
                "left out."
            )
        return features if len(known) == len(features) else features.select(known)

    def encode(
        self, task: Task, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Make features of rows in memory, one of each, labeled or not; for predictions, without `datasets`' files.

        Args:
            task: Renders the rows.
            rows: At least one; all with the same fields.
            numbers: What the rows are called in messages; by default their positions.

        Returns:
            The columns of `evaluation`, as a dict for each row.

        Raises:
            TemplateError: The template fails on a row, or shows nothing of it.
        """
        batch = {name: [row[name] for row in rows] for name in rows[0]}
        numbers = range(len(rows)) if numbers is None else numbers
        columns = self._features_of(task, -1, evaluation=True)(batch, numbers, keep_unlabeled=True)
        if len(columns["row"]) < len(rows):
            empty = min(set(numbers) - set(columns["row"]))
            raise TemplateError(f"Task {task.name!r}: row {empty} is empty; leave it out.")
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _build(self, task: Task, rows: Dataset, task_id: int, evaluation: bool) -> Dataset:
        columns = dict(_TRAINING_FEATURES)
        if evaluation:
            columns |= {"answer": Value("int64"), "row": Value("int64")}
            if task.has_choices:
                columns["choice_ids"] = List(List(Value("int32")))
            else:
                columns["target_text"] = Value("string")
        template = task.template
        fingerprint = _digest(
            [rows._fingerprint, template.name, template.jinja, template.answer_choices, task_id, evaluation]
            + self._settings
        )
        features = rows.map(
            self._features_of(task, task_id, evaluation),
            with_indices=True,
            batched=True,
            remove_columns=rows.column_names,
            features=Features(columns),
            num_proc=self.num_proc,
            new_fingerprint=fingerprint,
            desc=task.name,
        )
        if not len(features):
            raise DataError(
                f"Task {task.name!r} has no example: none of its {len(rows)} rows has an input and a target."
            )
        if len(features) < len(rows):
            logger.info(f"Task {task.name!r}: {len(rows) - len(features)} of {len(rows)} rows have no example.")
        return features

    def _features_of(self, task: Task, task_id: int, evaluation: bool) -> Callable[..., dict[str, list]]:
        return partial(
            _batch_features,
            task=task,
            task_id=task_id,
            tokenizer=self.tokenizer,
            max_source_length=self.max_source_length,
            max_target_length=self.max_target_length,
            evaluation=evaluation,
            decoder_only=self.decoder_only,
        )


def _warn_of_like_choices(task: Task, features: Dataset) -> None:
    alike = sum(len({*map(tuple, choices)}) < len(choices) for choices in features["choice_ids"])
    if alike:
        logger.warning(
            f"Task {task.name!r}: in {alike} of {len(features)} rows some answer choices are the same tokens, between "
            "which no model can choose. Perhaps the tokenizer does not know them, or `max_target_length` cuts off what "
            "differs; choose others in the template."
        )


def _warn_of_targets_outside_choices(task: Task, rows: Dataset, features: Dataset) -> None:
    # The labels of a row without target are an EOS alone.
    answers_and_labels = zip(features["answer"], features["labels"], strict=True)
    outside = [i for i, (answer, labels) in enumerate(answers_and_labels) if answer < 0 and len(labels) > 1]
    if outside:
        row = features[outside[0]]["row"]
        example = task.example(rows[row], row, check_answer=False)
        logger.warning(
            f"Task {task.name!r}: the targets of {len(outside)} of {len(rows)} rows are not among their answer choices, "
            f"such as {example.target_text!r:.100} of row {row}, whose choices are {example.choices!r:.200}; their "
            "answers count as unknown."
        )


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of everything about a tokenizer that decides about the ids it makes."""
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        # State that calls leave behind, not part of what the tokenizer is.
        backend.pop("truncation")
        backend.pop("padding")
        state = backend
    else:
        state = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), tokenizer("a b").input_ids]
    return _digest([state, tokenizer.eos_token_id])


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def _batch_features(
    batch: Mapping[str, Sequence],
    indices: Sequence[int],
    task: Task,
    task_id: int,
    tokenizer: PreTrainedTokenizerBase,
    max_source_length: int,
    max_target_length: int,
    evaluation: bool,
    keep_unlabeled: bool = False,
    decoder_only: bool = False,
) -> dict[str, list]:
    kept: list[tuple[int, dict[str, Any], Example]] = []
    names = list(batch)
    for index, values in zip(indices, zip(*batch.values(), strict=True), strict=True):
        row = dict(zip(names, values, strict=True))
        example = task.example(row, index, check_answer=False)
        unlabeled_too = keep_unlabeled or (evaluation and task.has_choices)
        if example is not None and (example.target_text or unlabeled_too):
            kept.append((index, row, example))

    tokenize_inputs = partial(tokenize_openings if decoder_only else _tokenize, tokenizer)
    inputs = tokenize_inputs([example.input_text for _, _, example in kept])
    inputs = [
        ids
        if len(ids) <= max_source_length
        else _shortened_input(ids, task, row, example, tokenizer, max_source_length, tokenize_inputs)
        or (ids[:max_source_length] if decoder_only else _cut_at_end(ids, max_source_length))
        for ids, (_, row, example) in zip(inputs, kept, strict=True)
    ]
    # Targets are among the choices, and choices often the same in all rows: tokenise each text once.
    texts = {example.target_text for _, _, example in kept}
    if evaluation:
        texts.update(choice for _, _, example in kept for choice in example.choices or ())
    tokenize_targets = tokenize_answers if decoder_only else partial(_tokenize, target=True)
    target_ids = dict(zip(texts, tokenize_targets(tokenizer, list(texts)), strict=True))
    target_ids = {text: _cut_at_end(ids, max_target_length) for text, ids in target_ids.items()}

    columns = {
        "input_ids": inputs,
        "labels": [target_ids[example.target_text] for _, _, example in kept],
        "task_id": [task_id] * len(kept),
    }
    if evaluation:
        columns["answer"] = [-1 if example.answer is None else example.answer for _, _, example in kept]
        columns["row"] = [index for index, _, _ in kept]
        if task.has_choices:
            columns["choice_ids"] = [[target_ids[choice] for choice in example.choices] for _, _, example in kept]
        else:
            columns["target_text"] = [example.target_text for _, _, example in kept]
    return columns


def _tokenize(tokenizer: PreTrainedTokenizerBase, texts: list[str], target: bool = False) -> list[list[int]]:
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
    # texts are tokenised behind a word, whose ids are then left out.
    word = tokenizer("a", add_special_tokens=False)["input_ids"]
    encoded = tokenizer([f"a {text}" if text else "a" for text in texts], add_special_tokens=False, verbose=False)
    eos = tokenizer.eos_token_id
    answers = [ids[len(word) :] for ids in encoded["input_ids"]]
    return [ids if ids and ids[-1] == eos else [*ids, eos] for ids in answers]


def _cut_at_end(ids: list[int], length: int) -> list[int]:
    return ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]


def _shortened_input(
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
    """A text, tokenised once, of which the first so many tokens are wanted."""

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
