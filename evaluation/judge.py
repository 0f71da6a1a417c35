"""How answers are scored on the evaluation rows of a held-out task.

Rank classification, as in T0: the answer choice with the greatest summed log-likelihood is the prediction. Tasks without
answer choices are scored by what is generated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from evaluation.examples import BLOCK_ROWS, TemplateExamples, split_rows
from evaluation.method_names import MAJORITY, MEAN_CODE, RAW_LM
from evaluation.score import Score
from evaluation.uncertainty import compare_answers
from modeling_ctr import CTRPreTrainedModel
from search import CodeScorer, PromptScorer, batch_calibration
from search.scoring.code_scorer import first_argmax
from search.scoring.processes import is_main_process
from tasks import FeatureBuilder

Codes = torch.LongTensor | Sequence[Sequence[int]]


class Judge:
    """Scores methods on the evaluation rows of one data set under one template.

    Args:
        model: A CTR model, or any language model.
        examples: The examples; only `evaluation` is looked at.
        builder: What made them: its tokenizer decodes what is generated, of at most its `max_target_length` tokens.
        length_normalization: Rank answer choices by their mean log-probability per token instead of the sum.
        block_rows: Rows in memory at a time. What the model made of a code is remembered where all rows are one block.

    Raises:
        ValueError: The right answer of a row is unknown.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        examples: TemplateExamples,
        builder: FeatureBuilder,
        length_normalization: bool = False,
        block_rows: int = BLOCK_ROWS,
    ):
        self.model = model
        self.examples, self.block_rows = examples, block_rows
        self.dataset, self.template = examples.task.dataset, examples.task.template.name
        self.tokenizer, self.max_new_tokens = builder.tokenizer, builder.max_target_length
        features = examples.evaluation
        self.num_examples = len(features)
        self.ranks = "choice_ids" in features.column_names
        self.choice_lengths: torch.Tensor | None = None
        if not self.ranks:
            # As they stand in the rows: neither cut to the model's lengths nor passed through its tokenizer.
            self.references = [[text] for text in features["target_text"]]
            return
        self.answers = np.array(features["answer"], dtype=np.int64)
        if (self.answers < 0).any():
            raise ValueError(
                f"The evaluation of '{examples.task.name}' needs the answer of every row, but "
                f"{(self.answers < 0).sum()} of {self.num_examples} have none."
            )
        lengths = [
            [len(choice) for choice in choices]
            for block in split_rows(features.select_columns("choice_ids"), block_rows)
            for choices in block["choice_ids"]
        ]
        self.max_choices = max(map(len, lengths))
        if length_normalization:
            self.choice_lengths = torch.ones(self.num_examples, self.max_choices)
            for row, of_row in enumerate(lengths):
                self.choice_lengths[row, : len(of_row)] = torch.tensor(of_row, dtype=torch.float32)

    @property
    def key(self) -> tuple[str, str | None]:
        """Template and evaluation rows: judges with equal keys and models give equal scores."""
        return self.template, self.examples.digests[2]

    # -------------------------------------------------------------------------------------------- scores

    def score_majority(self, seed: int) -> Score:
        """Score the most frequent answer of the evaluation rows: what must be beaten, not a method."""
        answers = np.full_like(self.answers, np.bincount(self.answers).argmax())
        return replace(self.scored(MAJORITY, answers, seed), beside=None)

    def score_raw_lm(self, seed: int, method: str = RAW_LM) -> Score:
        """Score the language model on the same input, without prompt vectors."""
        score = self.scored(method, self.raw_answers, seed)
        if score.beside is not None:
            del score.beside[RAW_LM]  # which it is itself
        return score

    def score_mean_training_code(self, seed: int) -> Score:
        """Score the codes of all training tasks: the mean is what a code picked at random is worth."""
        scores = [self.scored(MEAN_CODE, answers, seed) for answers in self.training_code_answers]
        mean = {name: float(np.mean([getattr(s, name) for s in scores])) for name in ("accuracy", "macro_f1")}
        shares = np.mean([s.predicted_shares for s in scores], axis=0).tolist()
        beside = {name: np.mean([s.beside[name] for s in scores], axis=0).tolist() for name in scores[0].beside}
        return replace(scores[0], predicted_shares=shares, beside=beside, **mean)

    def scored(self, method: str, answers: Sequence, seed: int, **details: Any) -> Score:
        """Score the answers of any method.

        Args:
            method: Name of the method.
            answers: `(num_examples,)`: numbers of answer choices, or texts.
            seed: Random seed of the method.
            details: Further fields of [`Score`].
        """
        # Here, so that what scores nothing does not wait for scikit-learn.
        from evaluation.metrics import RankClassification, TextGeneration

        about = {"task": self.dataset, "template": self.template, "method": method, "seed": seed} | details
        about["num_examples"] = self.num_examples
        if not self.ranks:
            values = TextGeneration().compute(predictions=list(answers), references=self.references)
            return Score(generation=values, **about)
        values = RankClassification().compute(
            predictions=answers, references=self.answers, num_choices=self.max_choices
        )
        del values["majority"]
        return Score(beside=self._compare(answers), **values, **about)

    def _compare(self, answers: np.ndarray) -> dict[str, list[float]]:
        baselines = {MAJORITY: np.bincount(self.answers).argmax()}
        if "raw_answers" in self.__dict__:  # known already; it is not asked for this alone
            baselines[RAW_LM] = self.raw_answers
        beside = {}
        for name, given in baselines.items():
            comparison = compare_answers(name, answers == self.answers, given == self.answers)
            beside[name] = [float(comparison.wins), float(comparison.losses)]
        return beside

    # ------------------------------------------------------------------------------------------- answers

    @cached_property
    def raw_answers(self) -> Sequence:
        """Answers of the language model without prompt vectors, as `answer_with_prompt` gives them."""
        return self.answer_with_prompt(None)

    @cached_property
    def training_code_answers(self) -> Sequence:
        """Answers under the codes of all training tasks, as `answer_with_codes` gives them."""
        return self.answer_with_codes(self.model.task_codes())

    def answer_with_codes(self, codes: Codes, calibrated: bool = False) -> Sequence:
        """Answer under task codes.

        Args:
            codes: `(num_codes, code_length)`.
            calibrated: Choose after batch calibration, which looks at the inputs of all evaluation rows.

        Returns:
            Numbers of choices `(num_codes, num_examples)`, or texts, nested likewise.
        """
        if not self.ranks:
            parts = [scorer.generate(codes, max_new_tokens=self.max_new_tokens) for _, scorer in self._get_scorers()]
            return [[self._decode(ids) for part in parts for ids in part[code]] for code in range(len(codes))]
        if not calibrated:
            parts = [self._rank(scorer.choice_log_likelihoods(codes), rows) for rows, scorer in self._get_scorers()]
            return np.concatenate(parts, axis=1)
        scores = [
            torch.nn.functional.pad(part, (0, self.max_choices - part.shape[2]), value=-torch.inf)
            for part in (scorer.choice_log_likelihoods(codes) for _, scorer in self._get_scorers())
        ]
        return self._rank(batch_calibration(torch.cat(scores, dim=1)), slice(None))

    def answer_with_prompt(self, prompt: torch.Tensor | None) -> Sequence:
        """Answer behind prompt vectors `(prompt_length, width)`, or with None to the input alone.

        Returns:
            Numbers of choices `(num_examples,)`, or texts, a list.
        """
        prompts = None if prompt is None else prompt[None]
        parts = []
        for rows, scorer in self._get_scorers():
            scorer = scorer.prompt_scorer if isinstance(scorer, CodeScorer) else scorer
            if self.ranks:
                parts.append(self._rank(scorer.choice_log_likelihoods(prompts)[0], rows))
            else:
                generated = scorer.generate(prompts, max_new_tokens=self.max_new_tokens)[0]
                parts.append([self._decode(ids) for ids in generated])
        return np.concatenate(parts) if self.ranks else [text for part in parts for text in part]

    # -------------------------------------------------------------------------------------------- inside

    def _get_scorers(self) -> Iterator[tuple[slice, CodeScorer | PromptScorer]]:
        """A scorer for each block of rows, which is gone before the next is made; a single block's stays."""
        if self.num_examples <= self.block_rows:
            yield slice(None), self._scorer
            return
        name = f"{self.dataset}, {self.template}"
        with tqdm(total=self.num_examples, unit="row", desc=name, disable=not is_main_process(), leave=False) as bar:
            start = 0
            for block in split_rows(self.examples.evaluation, self.block_rows):
                yield slice(start, start + len(block)), self._make_scorer(block, progress=False)
                start += len(block)
                bar.update(len(block))

    @cached_property
    def _scorer(self) -> CodeScorer | PromptScorer:
        return self._make_scorer(self.examples.evaluation, progress=True)

    def _make_scorer(self, features: Dataset, progress: bool) -> CodeScorer | PromptScorer:
        kind = CodeScorer if isinstance(self.model, CTRPreTrainedModel) else PromptScorer
        return kind(self.model, features, progress=progress)

    def _rank(self, log_likelihoods: torch.DoubleTensor, rows: slice) -> np.ndarray:
        """`(..., num_rows, num_choices)` -> the best choice of each row, the first of equals."""
        if self.choice_lengths is not None:
            log_likelihoods = log_likelihoods / self.choice_lengths[rows, : log_likelihoods.shape[-1]]
        return first_argmax(log_likelihoods).numpy()

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()
