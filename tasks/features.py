"""Rows to token ids: what the model is trained on, and what codes are scored on.

Columns (one row per example; padding is the collator's business):

- `input_ids`: list of int32, ends in EOS.
- `labels`: list of int32, the target, ends in EOS.
- `task_id`: int64.

and for evaluation and search also

- `choice_ids`: one list of int32 per answer choice, each ending in EOS; no such column for free-form tasks.
- `answer`: int64, index of the gold choice, -1 where it is unknown or the task has no choices.
- `row`: int64, position in the given rows, by which the examples of several templates of a data set are matched.
- `target_text`: string, the target as the row has it, neither cut nor tokenized; for free-form tasks only.

`datasets` keeps the result on disk beside the rows it was made from. Its fingerprint is ours: of the rows, the template,
the tokenizer and the lengths, so that a change to one of them makes new features and a change elsewhere does not.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .errors import DataError, TemplateError
from .shortening import shorten_input
from .task import Example, Task
from .tokenization import (
    compute_digest,
    compute_tokenizer_fingerprint,
    cut_at_end,
    tokenize,
    tokenize_answers,
    tokenize_openings,
)

logger = logging.get_logger(__name__)

# Part of every fingerprint: raise it when other features are made of the same rows.
FORMAT_VERSION = 3
_TRAINING_FEATURES = {"input_ids": List(Value("int32")), "labels": List(Value("int32")), "task_id": Value("int64")}


class FeatureBuilder:
    """Makes features of rows.

    Args:
        tokenizer: Its EOS is put at the end of inputs, targets and choices unless it does so itself.
        max_source_length: Greatest number of tokens of an input, EOS included. Longer ones lose the end of the
            row's longest field, never question or choices; only where that is not enough are they cut at the end.
        max_target_length: Greatest number of tokens of a target or a choice, EOS included.
        num_proc: Processes to tokenize with; None is this one.
        decoder_only: Whether text and answer are read as one sequence: no EOS then ends an input, and targets and choices
            are tokenized as what goes on behind it, after a space and without a token for a beginning.

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
        self._settings = [
            FORMAT_VERSION,
            compute_tokenizer_fingerprint(tokenizer),
            max_source_length,
            max_target_length,
        ]
        if decoder_only:
            self._settings.append("decoder_only")

    def with_lengths(self, max_source_length: int | None, max_target_length: int | None) -> "FeatureBuilder":
        """Make a builder with these lengths, as a task may know them; None leaves this one's."""
        return FeatureBuilder(
            self.tokenizer,
            max_source_length or self.max_source_length,
            max_target_length or self.max_target_length,
            self.num_proc,
            self.decoder_only,
        )

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

    def evaluation(self, task: Task, rows: Dataset, task_id: int = -1, labeled_only: bool = False) -> Dataset:
        """Features to score and search on. Rows without a known answer are kept where the task has answer choices.

        Args:
            task: The task.
            rows: Rows of its data set.
            task_id: Position of a training task among the model's; -1 for a task that the model was not trained on.
            labeled_only: Leave out the rows without a known answer, with a warning that counts them.

        Raises:
            TemplateError: The template fails on a row.
            DataError: No row is left.
        """
        features = self._build(task, rows, task_id, evaluation=True)
        if not task.has_choices:
            return features
        _warn_of_like_choices(task, features)
        _warn_of_targets_outside_choices(task, rows, features)
        if not labeled_only:
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
        fingerprint = compute_digest(
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

    tokenize_inputs = partial(tokenize_openings if decoder_only else tokenize, tokenizer)
    inputs = tokenize_inputs([example.input_text for _, _, example in kept])
    inputs = [
        ids
        if len(ids) <= max_source_length
        else shorten_input(ids, task, row, example, tokenizer, max_source_length, tokenize_inputs)
        or (ids[:max_source_length] if decoder_only else cut_at_end(ids, max_source_length))
        for ids, (_, row, example) in zip(inputs, kept, strict=True)
    ]
    # Targets are among the choices, and choices often the same in all rows: tokenize each text once.
    texts = {example.target_text for _, _, example in kept}
    if evaluation:
        texts.update(choice for _, _, example in kept for choice in example.choices or ())
    tokenize_targets = tokenize_answers if decoder_only else partial(tokenize, target=True)
    target_ids = dict(zip(texts, tokenize_targets(tokenizer, list(texts)), strict=True))
    target_ids = {text: cut_at_end(ids, max_target_length) for text, ids in target_ids.items()}

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
