"""Held-out tasks: what a method may see of them, what it is judged on, and how its answers are scored.

Rank classification, as in T0: the answer choice with the greatest summed log-likelihood is the prediction. Tasks without
answer choices are scored by what is generated. Labelled few-shot examples and unlabelled examples are drawn from the
training split and never among the evaluation rows; labels of evaluation rows are used for nothing but the scores.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from evaluation.metrics import RankClassification, TextGeneration
from evaluation.score import MAJORITY, MEAN_CODE, RAW_LM, Score
from modeling_ctr import CTRForConditionalGeneration
from search import CodeScorer, PromptScorer, batch_calibration, examples_fingerprint, model_fingerprint
from search.scoring.code_scorer import first_argmax
from search.scoring.model_modes import autocast_around
from tasks import (
    DataError,
    FeatureBuilder,
    SplitRows,
    Task,
    few_shot_split,
    sample_rows,
    select_tasks_with_answers,
)

# Rows of an evaluation in the authors' experiments, except for hellaswag.
ORIGINAL_ROWS = 1000


@dataclass(frozen=True)
class Draws:
    """Which examples of a held-out data set are used.

    Attributes:
        num_shots: Labelled examples; 0 where no method needs any.
        num_unlabelled: Unlabelled examples; 0 likewise.
        judged: Whether there is an evaluation, which needs labelled rows.
        max_eval_samples: Evaluate on at most so many rows, drawn at random, the same ones for every seed: many data
            sets are sorted by label.
        protocol: "clean" evaluates on all rows and draws exactly `num_shots` examples. "original" does as the
            authors' code: the first 1,000 rows (all of hellaswag), of WSC's rows with equal inputs one, and
            `ceil(num_shots / classes)` examples of each class.
    """

    num_shots: int = 32
    num_unlabelled: int = 64
    judged: bool = True
    max_eval_samples: int | None = None
    protocol: Literal["clean", "original"] = "clean"


@dataclass(frozen=True)
class TemplateExamples:
    """The tokenised examples of one held-out data set under one template; rows as `FeatureBuilder.evaluation` makes.

    `few_shot`, `unlabelled` and `evaluation` are None where they are not asked for.
    """

    task: Task
    few_shot: Dataset | None
    unlabelled: Dataset | None
    evaluation: Dataset | None


def most_varied_templates(
    model: PreTrainedModel,
    tasks: Sequence[Task],
    rows: SplitRows,
    builder: FeatureBuilder,
    num_unlabelled: int,
    seed: int,
    count: int,
) -> list[Task]:
    """The `count` templates of a data set under which the raw language model gives the most varied answers.

    Letter case or wording of the answer choices can make a model answer one of them to everything; no code found under
    such a template means much. Measured by the entropy of its answers to unlabelled rows of the training split; no
    label is looked at. Of equals the first; the order of `tasks` is kept.
    """
    if count >= len(tasks):
        return list(tasks)
    unlabelled = rows.train.select(_unlabelled_rows(rows, num_unlabelled, seed))

    def entropy(task: Task) -> float:
        scorer = PromptScorer(model, builder.evaluation(task, unlabelled))
        answers = first_argmax(scorer.choice_log_likelihoods()[0])
        shares = np.bincount(answers.numpy()) / scorer.num_examples
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

    chosen = sorted(tasks, key=entropy, reverse=True)[:count]  # stable: of equals the first
    return [task for task in tasks if task in chosen]


def held_out_examples(
    tasks: Sequence[Task], rows: SplitRows, builder: FeatureBuilder, draws: Draws, seed: int
) -> list[TemplateExamples]:
    """Draw and tokenise the examples of one data set, the same rows under each of its templates.

    Args:
        tasks: Tasks of one data set.
        rows: Its rows.
        builder: Tokenises them.
        draws: How many are drawn.
        seed: Of both draws.

    Rows without a known answer are left out with their count, templates under which no row has one with a warning.

    Raises:
        DataError: The data set has too few rows, or its evaluation rows have no known answer under any template.
    """
    if draws.num_shots:
        tasks = select_tasks_with_answers(tasks, rows.train, rows.train_split)
    if draws.judged:
        tasks = select_tasks_with_answers(tasks, rows.evaluation, rows.evaluation_split)
    few_shot = unlabelled = evaluation = [None] * len(tasks)
    evaluation_rows = rows.evaluation
    if draws.num_shots:
        split = few_shot_split(tasks[0], rows, draws.num_shots, seed, exact=draws.protocol == "clean")
        evaluation_rows = split.evaluation
        if draws.judged and not len(evaluation_rows):
            raise DataError(
                f"Data set {rows.dataset!r} has no evaluation rows left after {draws.num_shots} few-shot rows: ask for "
                "fewer, or do without an evaluation."
            )
        few_shot = [builder.evaluation(task, split.train, labelled_only=True) for task in tasks]
    if draws.num_unlabelled:
        chosen = rows.train.select(_unlabelled_rows(rows, draws.num_unlabelled, seed))
        unlabelled = [builder.evaluation(task, chosen) for task in tasks]
    if draws.judged:
        if draws.protocol == "original":
            evaluation_rows = _original_rows(tasks[0], evaluation_rows)
        if draws.max_eval_samples is not None:
            evaluation_rows = sample_rows(tasks[0], evaluation_rows, draws.max_eval_samples)
        evaluation = [builder.evaluation(task, evaluation_rows, labelled_only=True) for task in tasks]
    return [TemplateExamples(*each) for each in zip(tasks, few_shot, unlabelled, evaluation, strict=True)]


def inputs_of(model: PreTrainedModel, examples: Sequence[TemplateExamples]) -> dict[str, Any]:
    """Digests of all that results on a data set come from, beside the settings; JSON values.

    Results under a `torch.autocast` around the call come from its precision, too.
    """
    digests = {}
    for each in examples:
        parts = (each.few_shot, each.unlabelled, each.evaluation)
        digests[each.task.template.name] = [None if part is None else examples_fingerprint(part) for part in parts]
    inputs = {"model": model_fingerprint(model), "examples": digests}
    autocast = autocast_around(model.device)
    return inputs if autocast is None else {**inputs, "autocast": str(autocast)}


def with_common_rows(columns: Sequence[Dataset]) -> list[Dataset]:
    """One data set's examples under several templates, without the rows that some template does not apply to.

    Raises:
        DataError: No row is left.
    """
    common = set.intersection(*(set(features["row"]) for features in columns))
    if not common:
        raise DataError("No row is there under all templates: leave out those that apply to some kinds of rows only.")
    return [features.filter(lambda row: row in common, input_columns="row") for features in columns]


class Judge:
    """Scores methods on the evaluation rows of one data set under one template.

    Args:
        model: A CTR model, or any seq2seq language model.
        examples: The examples; only `evaluation` is looked at.
        builder: What made them: its tokenizer decodes what is generated, of at most its `max_target_length` tokens.
        length_normalization: Rank answer choices by their mean log-probability per token instead of the sum.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        examples: TemplateExamples,
        builder: FeatureBuilder,
        length_normalization: bool = False,
    ):
        self.model = model
        self.dataset, self.template = examples.task.dataset, examples.task.template.name
        self.codes = None
        if isinstance(model, CTRForConditionalGeneration):
            self.codes = CodeScorer(model, examples.evaluation, progress=True)
            self.prompts = self.codes.prompt_scorer
        else:
            self.prompts = PromptScorer(model, examples.evaluation, progress=True)
        self.tokenizer, self.max_new_tokens = builder.tokenizer, builder.max_target_length
        if self.prompts.has_choices:
            self.answers = self.prompts.require_answers(f"The evaluation of '{examples.task.name}'").numpy()
        else:
            # As they stand in the rows: neither cut to the model's lengths nor passed through its tokenizer.
            self.references = [[text] for text in examples.evaluation["target_text"]]
        self.choice_lengths = None
        if length_normalization and self.ranks:
            self.choice_lengths = torch.ones(self.prompts.num_examples, self.prompts.max_choices)
            for row, choices in enumerate(examples.evaluation["choice_ids"]):
                self.choice_lengths[row, : len(choices)] = torch.tensor([float(len(choice)) for choice in choices])

    @property
    def ranks(self) -> bool:
        """Whether the task has answer choices; else texts are generated."""
        return self.prompts.has_choices

    @property
    def key(self) -> tuple[str, str]:
        """Template and evaluation rows: judges with equal keys and models give equal scores."""
        return self.template, self.prompts.data_fingerprint

    def majority(self, seed: int) -> Score:
        """Always the most frequent answer of the evaluation rows: what must be beaten, not a method."""
        majority = np.bincount(self.answers).argmax()
        return self.scored(MAJORITY, np.full_like(self.answers, majority), seed)

    def raw_lm(self, seed: int, method: str = RAW_LM) -> Score:
        """The language model on the same input, without prompt vectors."""
        return self.scored(method, self._raw_answers, seed)

    @cached_property
    def _raw_answers(self) -> Sequence:
        return self.answers_behind(None)

    def mean_training_code(self, seed: int) -> Score:
        """Mean over the codes of all training tasks: what a code picked at random is worth."""
        scores = [self.scored(MEAN_CODE, of_code, seed) for of_code in self.of_codes(self.model.task_codes())]
        shares = np.mean([s.predicted_shares for s in scores], axis=0).tolist()
        accuracy = float(np.mean([s.accuracy for s in scores]))
        macro_f1 = float(np.mean([s.macro_f1 for s in scores]))
        return replace(scores[0], accuracy=accuracy, macro_f1=macro_f1, predicted_shares=shares)

    def of_codes(self, codes: torch.LongTensor | Sequence[Sequence[int]], calibrated: bool = False) -> Sequence:
        """Answers under codes `(num_codes, code_length)`: choices `(num_codes, num_examples)`, or generated texts.

        With `calibrated`, choices after batch calibration, which looks at the inputs of all evaluation rows.
        """
        if self.ranks:
            scores = self.codes.choice_log_likelihoods(codes)
            return self._ranked(batch_calibration(scores) if calibrated else scores)
        generated = self.codes.generate(codes, max_new_tokens=self.max_new_tokens)
        return [[self._text(ids) for ids in of_code] for of_code in generated]

    def answers_behind(self, prompt: torch.Tensor | None) -> Sequence:
        """Answers behind prompt vectors `(prompt_length, width)`, or with None to the input alone."""
        prompts = None if prompt is None else prompt[None]
        if self.ranks:
            return self._ranked(self.prompts.choice_log_likelihoods(prompts))[0]
        return [self._text(ids) for ids in self.prompts.generate(prompts, max_new_tokens=self.max_new_tokens)[0]]

    def scored(self, method: str, answers: Sequence, seed: int, **details) -> Score:
        """Answers of any method: choices, or texts, `(num_examples,)`; `details` are further fields of [`Score`]."""
        about = {"task": self.dataset, "template": self.template, "method": method, "seed": seed} | details
        if not self.ranks:
            values = TextGeneration().compute(predictions=list(answers), references=self.references)
            return Score(num_examples=len(self.references), generation=values, **about)
        values = RankClassification().compute(
            predictions=answers, references=self.answers, num_choices=self.prompts.max_choices
        )
        del values["majority"]
        return Score(num_examples=len(self.answers), **values, **about)

    def _ranked(self, log_likelihoods: torch.DoubleTensor) -> np.ndarray:
        """`(..., num_examples, max_choices)` -> the best choice of each example, the first of equals."""
        if self.choice_lengths is not None:
            log_likelihoods = log_likelihoods / self.choice_lengths
        return first_argmax(log_likelihoods).numpy()

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()


def file_name_of(name: str) -> str:
    """A template's or data set's name without what a file's name may not have."""
    return re.sub(r"[^\w.-]+", "_", name)


def _unlabelled_rows(rows: SplitRows, count: int, seed: int) -> list[int]:
    """Unlike few-shot rows these are drawn without a look at the labels, which would tell their balance."""
    size = len(rows.train)
    return sorted(random.Random(seed).sample(range(size), min(count, size)))


def _original_rows(task: Task, rows: Dataset) -> Dataset:
    """The rows that the authors' code evaluates on."""
    if task.dataset.startswith("super_glue/wsc"):
        first: dict[str, int] = {}
        for index, row in enumerate(rows):
            example = task.example(row, index, check_answer=False)
            if example is not None:
                first.setdefault(example.input_text, index)
        rows = rows.select(first.values())
    return rows if task.dataset == "hellaswag" else rows.select(range(min(ORIGINAL_ROWS, len(rows))))
