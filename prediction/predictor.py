"""Answers to many texts at a steady speed and in bounded memory: longest first, a chunk at a time, tasks mixed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from search import PromptScorer

from .labels import Label
from .linear_probe import compute_text_states, get_log_odds
from .questions import Question
from .task_texts import Text, make_rows

# Texts that are tokenized and scored at a time.
CHUNK = 2048


class Predictor:
    """Runs a CTR model over texts.

    Args:
        model: The model.
        questions: What is asked.
        texts: All texts.
        asked: Number of the question of each text.
        choices: Answers to choose from for each text, where they differ by text.
        progress: Show a bar.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        questions: Sequence[Question],
        texts: Sequence[Text],
        asked: Sequence[int],
        choices: Sequence[Sequence[str]] | None = None,
        progress: bool = True,
    ):
        self.model, self.questions, self.texts, self.asked = model, questions, texts, asked
        self.choices, self.progress = choices, progress
        dtype = model.get_input_embeddings().weight.dtype
        self.prompts = torch.stack([question.vectors.to(dtype) for question in questions])
        self.scorer: PromptScorer | None = None  # of the last chunk

    def probabilities(self) -> tuple[list[list[Label]], list[torch.DoubleTensor]]:
        """Labels to choose from, and their probabilities `(num_choices,)`, for each text.

        Raises:
            ValueError: A task has no answers to choose from, and the texts bring none.
        """
        for question in self.questions:
            if not question.task.has_choices:
                raise ValueError(
                    f"The task '{question.task.name}' has no answers to choose from: give `choices`, or let it write with "
                    "`generate`."
                )
        scores = self.choice_log_likelihoods()
        asked = [self.questions[number] for number in self.asked]
        labels = self.choices or [question.labels for question in asked]
        return labels, [
            question.calibration.log_probabilities(row).exp() for question, row in zip(asked, scores, strict=True)
        ]

    def choice_log_likelihoods(self) -> list[torch.DoubleTensor]:
        """Log-likelihoods `(num_choices,)` of the answers, for each text."""
        found: list[Any] = [None] * len(self.texts)
        for numbers, examples in self._chunks():
            scorer = self._make_scorer(examples)
            wanted = torch.zeros(len(self.prompts), len(numbers), dtype=torch.bool)
            wanted[[self.asked[number] for number in numbers], range(len(numbers))] = True
            used = wanted.any(1)
            scores = scorer.choice_log_likelihoods(self.prompts[used.to(self.prompts.device)], wanted[used])
            scores = scores[wanted[used].T.nonzero()[:, 1], torch.arange(len(numbers))]  # (texts, max_choices)
            for number, row, example in zip(numbers, scores, examples, strict=True):
                found[number] = row[: len(example["choice_ids"])]
        return found

    def generate(self, **kwargs: Any) -> list[str]:
        """A text for each text; arguments are those of transformers' `generate`."""
        written: list[Any] = [None] * len(self.texts)
        for numbers, examples in self._chunks():
            for question in {self.asked[number] for number in numbers}:
                places = [i for i, number in enumerate(numbers) if self.asked[number] == question]
                scorer = self._make_scorer([examples[i] for i in places])
                builder = self.questions[question].builder
                limit = (
                    {}
                    if kwargs.keys() & {"max_new_tokens", "max_length", "generation_config"}
                    else {"max_new_tokens": builder.max_target_length}
                )
                (rows,) = scorer.generate(self.prompts[question][None], **limit, **kwargs)
                decoded = builder.tokenizer.batch_decode(rows, skip_special_tokens=True)
                for i, text in zip(places, decoded, strict=True):
                    written[numbers[i]] = text.strip()
        return written

    def embed(self) -> np.ndarray:
        """The mean of the language model's states over each text, `(num_texts, width)`, float32."""
        states = np.empty((len(self.texts), self.prompts.shape[-1]), dtype=np.float32)
        for numbers, examples in self._chunks():
            states[numbers] = compute_text_states(self.model, [example["input_ids"] for example in examples])
        return states

    def embed_answers(self) -> np.ndarray:
        """Log-odds of the answers under every training code, `(num_texts, num_codes * (num_choices - 1))`, float32."""
        codes = self.model.prompt_vectors(self.model.task_codes()).to(self.prompts)
        log_odds: list[Any] = [None] * len(self.texts)
        for numbers, examples in self._chunks():
            scores = self._make_scorer(examples).choice_log_likelihoods(codes)
            for number, row in zip(numbers, get_log_odds(scores), strict=True):
                log_odds[number] = row
        return np.stack(log_odds).astype(np.float32)

    def _make_scorer(self, examples: list[dict[str, Any]]) -> PromptScorer:
        found = None if self.scorer is None else self.scorer.token_budget  # what the chunk before found to be fast
        self.scorer = PromptScorer(self.model, examples, found)
        return self.scorer

    def _chunks(self) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
        """Numbers of texts and their features, longest texts first, so that what does not fit fails at once."""
        order = sorted(range(len(self.texts)), key=lambda number: -_size(self.texts[number]))
        with tqdm(total=len(order), unit="text", disable=not self.progress, leave=False) as bar:
            for start in range(0, len(order), CHUNK):
                numbers = order[start : start + CHUNK]
                yield numbers, self._features(numbers)
                bar.update(len(numbers))

    def _features(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        features: list[Any] = [None] * len(numbers)
        for index, question in enumerate(self.questions):
            places = [i for i, number in enumerate(numbers) if self.asked[number] == index]
            if not places:
                continue
            texts = [self.texts[numbers[i]] for i in places]
            choices = None if self.choices is None else [self.choices[numbers[i]] for i in places]
            called = [numbers[i] for i in places]
            rows = make_rows(question.task, texts, choices=choices, numbers=called)
            for i, encoded in zip(places, question.builder.encode(question.task, rows, called), strict=True):
                features[i] = {name: encoded[name] for name in ("input_ids", "choice_ids") if name in encoded}
        return features


def _size(text: Text) -> int:
    """Characters of a text or of all fields of a row."""
    return len(text) if isinstance(text, str) else sum(len(str(value)) for value in text.values())
