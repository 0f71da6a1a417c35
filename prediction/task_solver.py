"""Text in, answers out: a CTR model and its tokenizer that learn a task from a few examples and answer texts."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from modeling_ctr.task_details import TaskDetails
from search import SearchConfig
from tasks.tokenization import check_tokenizer
from trainers.hub import push_to_hub, save_for_hub

from .answer_formats import make_decision, rank_answers
from .calibration import keep_calibration
from .config import get_fit_config
from .fit_result import FitResult
from .fitting import Fitting
from .labels import Label
from .loading import load_model_and_tokenizer, share_weights, to_own_class
from .methods import FoundPrompt
from .predictor import Predictor
from .questions import check_new_name, find_task_name, make_question, make_questions
from .task_examples import make_examples
from .task_texts import Text, listed_choices, listed_texts

logger = logging.get_logger(__name__)


class TaskSolver:
    """Learns tasks from a few texts and answers further ones, with one model for all of them.

    Args:
        model: A CTR model.
        tokenizer: The tokenizer that it was trained with.

    Raises:
        ValueError: The model is no CTR model, or the tokenizer does not fit it.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model = to_own_class(model).eval()
        self.tokenizer = tokenizer
        decoder_only = not self.model.config.is_encoder_decoder
        check_tokenizer(tokenizer, self.model.get_input_embeddings().num_embeddings, decoder_only)
        self._last_task: str | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, **kwargs: Any) -> "TaskSolver":
        """Load a model and its tokenizer from a folder or the Hub, onto the accelerator if there is one.

        Args:
            name_or_path: Folder, or name on the Hub.
            **kwargs: For the model's `from_pretrained`, such as `dtype`, `device_map`, `revision` or `token`.

        Raises:
            OSError: There is no such folder, and the Hub did not give it.
            ValueError: It is no CTR model, or its tokenizer does not fit it.
        """
        return cls(*load_model_and_tokenizer(name_or_path, **kwargs))

    def fit(
        self,
        texts: Sequence[Text],
        labels: Sequence[Label] | None = None,
        *,
        name: str,
        answers: Mapping[Label, str] | Sequence[str] | None = None,
        choices: Sequence[Sequence[str]] | None = None,
        targets: Sequence[str] | None = None,
        template: str | None = None,
        config: SearchConfig | None = None,
        seed: int = 42,
        progress: bool = True,
        **overrides: Any,
    ) -> FitResult:
        """Learn a task from a few examples. The weights stay as they are; the model knows one task more.

        Args:
            texts: Texts of the examples: strings, or rows of several fields.
            labels: Label of each text: strings, numbers or booleans; with `choices`, the right one or its position. None
                to learn without labels, by Code Ensemble.
            name: Name of the task. An added task of that name is replaced.
            answers: Text that stands for each label (verbalizer), as a mapping, or a list in the order of the sorted
                labels; by default the label's own text. Without labels, the texts to choose between.
            choices: Texts to choose between, for each text, where they differ (multiple choice).
            targets: Text to write for each text, for a free-form task, in place of `labels`.
            template: Jinja source of the input, such as "{{premise}} {{hypothesis}}", or of "input ||| target" as
                `tasks.Template` takes it. By default the fields, each on a line.
            config: How to learn, a [`FitConfig`], or how to search, a `SearchConfig`.
            seed: Random seed of the searches and the folds.
            progress: Whether to show a bar.
            **overrides: Fields of [`FitConfig`] to replace: `method` ("auto" tries several), `folds` (0 for no estimate),
                `calibrate`, `max_source_length`, `max_evaluations` and so on.

        Returns:
            What was found and how far to trust it; print it.

        Raises:
            ValueError: The examples, or an argument, cannot be worked with; the message says what and where.
        """
        start = time.perf_counter()
        check_new_name(self.model, name)
        config = get_fit_config(config, overrides)
        config.check_examples(labels is not None or targets is not None, targets is None)
        examples = make_examples(
            self.tokenizer, name, texts, labels, answers, choices, targets, template, config,
            decoder_only=not self.model.config.is_encoder_decoder,
        )  # fmt: skip
        prompt, calibration, result = Fitting(self.model, examples, config, seed, progress).run(name)
        details = examples.details
        if calibration is not None:
            details = keep_calibration(details, calibration)
        self._add(name, prompt, details)
        return replace(result, seconds=time.perf_counter() - start)

    # ------------------------------------------------------------------------------------------------ answer

    def predict(
        self,
        texts: Sequence[Text],
        task: str | Sequence[str] | None = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        progress: bool = True,
    ) -> list[Label]:
        """The most probable label of each text.

        Args:
            texts: Strings, or rows of several fields.
            task: Name of the task, or a name for each text. By default the one that was learned last, or the only one.
            choices: Texts to choose between, one list for each text or for all; needed where the task has no answers of
                its own. The right one is returned then.
            progress: Whether to show a bar.

        Returns:
            Label values as they were given to `fit`, in the order of the texts.

        Raises:
            ValueError: There is no such task, it has no answers, or a text is empty or lacks a field.
        """
        texts = listed_texts(texts)
        labels, rows = self._make_predictor(texts, task, choices, progress).probabilities()
        return [of_text[int(row.numpy().argmax())] for of_text, row in zip(labels, rows, strict=True)]

    def predict_proba(
        self,
        texts: Sequence[Text],
        task: str | Sequence[str] | None = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        progress: bool = True,
    ) -> np.ndarray:
        """Probabilities among the answers, `(n, classes)` in the order of `classes_(task)`; arguments as in `predict`.

        With `choices` columns are positions, 0 where a text has fewer choices.

        Raises:
            ValueError: As `predict`; or the tasks of the texts have different classes.
        """
        texts = listed_texts(texts)
        labels, rows = self._make_predictor(texts, task, choices, progress).probabilities()
        if choices is None and any(of_text != labels[0] for of_text in labels):
            raise ValueError("The tasks have different classes, so that columns would differ: ask for one at a time.")
        table = np.zeros((len(rows), max(map(len, rows))))
        for number, row in enumerate(rows):
            table[number, : len(row)] = row.numpy()
        return table

    def classes_(self, task: str | None = None) -> list[Label]:
        """Label values of a task, in the order of `predict_proba`.

        Raises:
            ValueError: There is no such task, or it has no classes.
        """
        name = find_task_name(self.model, task, self._last_task)
        labels = make_question(self.model, self.tokenizer, name).labels
        if labels is None:
            raise ValueError(
                f"The task '{name}' has no classes: it writes texts, or chooses between those of each row."
            )
        return labels

    def generate(
        self, texts: Sequence[Text], task: str | Sequence[str] | None = None, *, progress: bool = True, **kwargs: Any
    ) -> list[str]:
        """What the model writes for each text, for any task.

        Args:
            texts: Strings, or rows of several fields.
            task: As in `predict`.
            progress: Whether to show a bar.
            **kwargs: For transformers' `generate`, such as `num_beams`; by default at most as many tokens are written as
                the task's targets have.
        """
        return self._make_predictor(listed_texts(texts), task, None, progress).generate(**kwargs)

    def embed(
        self, texts: Sequence[Text], task: str | Sequence[str] | None = None, *, progress: bool = True
    ) -> np.ndarray:
        """Vectors of texts for a classifier of your own, `(n, width)`, float32: the mean of the language model's last states.

        Without any code; the task says how a text is shown to the model, and how much of it.

        Args:
            texts: Strings, or rows of several fields.
            task: As in `predict`.
            progress: Whether to show a bar.
        """
        return self._make_predictor(listed_texts(texts), task, None, progress).embed()

    @torch.no_grad()
    def embed_answers(self, texts: Sequence[Text], task: str | None = None, *, progress: bool = True) -> np.ndarray:
        """Vectors of texts for a classifier of your own: what every training code answers.

        They say most with the fewest labels, where training had the kind of question; each text is read once for each code.

        Args:
            texts: Strings, or rows of several fields.
            task: Name of a task with classes; by default the one that was learned last, or the only one.
            progress: Whether to show a bar.

        Returns:
            Log-odds of each answer against the first, `(n, num_codes * (num_classes - 1))`, float32.

        Raises:
            ValueError: As `classes_`, or as `predict`.
        """
        self.classes_(task)
        return self._make_predictor(listed_texts(texts), task, None, progress).embed_answers()

    def __call__(
        self, texts: Text | Sequence[Text], task: str | None = None, *, top_k: int | None = 1, **kwargs: Any
    ) -> list:
        """Answers as transformers' pipelines give them.

        Args:
            texts: A text, or several.
            task: As in `predict`.
            top_k: Number of labels for each text; None for all. With 1 (the default) each text has one answer, else a
                list of them, the most probable first.
            **kwargs: `choices` and `progress`, as in `predict`.

        Returns:
            A list of `{"label": ..., "score": ...}`, one for each text, or of lists of them.
        """
        single = isinstance(texts, (str, Mapping))
        texts = listed_texts([texts] if single else texts)
        kwargs.setdefault("progress", False)
        labels, rows = self._make_predictor(texts, task, kwargs.pop("choices", None), **kwargs).probabilities()
        answers = [rank_answers(of_text, row, top_k) for of_text, row in zip(labels, rows, strict=True)]
        if top_k == 1:
            return [answer[0] for answer in answers]
        return answers[0] if single else answers

    def decide(self, text: Text, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Answers of several tasks to one text, by task, in the shape of transformers' decision pipeline."""
        labels, rows = self._make_predictor([text] * len(tasks), list(tasks), None).probabilities()
        return {task: make_decision(*each) for task, each in zip(tasks, zip(labels, rows, strict=True), strict=True)}

    # ------------------------------------------------------------------------------------------------- share

    def save_pretrained(self, folder: str | os.PathLike, **card: Any) -> None:
        """Write model, tasks, tokenizer and model card; `from_pretrained(folder)` knows the tasks then.

        Args:
            folder: A folder, made if there is none.
            **card: Facts for the card, see `trainers.model_card.write_model_card`.
        """
        save_for_hub(self.model, self.tokenizer, folder, **self._get_example() | card)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Push model, tasks, tokenizer and model card in one commit; see `trainers.hub.push_to_hub`.

        Returns:
            The commit's address.

        Raises:
            OSError: The Hub did not take it; the repository is as it was before.
        """
        return push_to_hub(self.model, self.tokenizer, repo_id, **self._get_example() | kwargs)

    def copy(self) -> "TaskSolver":
        """A solver with the same weights, not copied, and tasks of its own from now on."""
        return TaskSolver(share_weights(self.model), self.tokenizer)

    # ------------------------------------------------------------------------------------------------- tasks

    def _add(self, name: str, prompt: FoundPrompt, details: TaskDetails) -> None:
        if name in self.model.task_names:
            logger.info(f"The task '{name}' is replaced.")
            self.model.remove_task(name)
        if prompt.code is None:
            self.model.add_tuned_task(name, prompt.vectors, details)
        else:
            self.model.add_task(name, prompt.code, details)
        self._last_task = name

    def _get_example(self) -> dict[str, Any]:
        """Get what the card says about its example: the task learned last, where it is still there."""
        return {"example_task": self._last_task} if self._last_task in self.model.task_names else {}

    def _make_predictor(
        self,
        texts: list[Text],
        task: str | Sequence[str] | None,
        choices: Sequence[Sequence[str]] | None,
        progress: bool = False,
    ) -> Predictor:
        """Make what asks each text its task's question; `choices` are of texts that have their own."""
        choices = None if choices is None else listed_choices(choices, len(texts))
        questions, asked = make_questions(
            self.model, self.tokenizer, len(texts), task, self._last_task, choices is not None
        )
        return Predictor(self.model, questions, texts, asked, choices, progress)
