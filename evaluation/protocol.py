"""Held-out tasks: what a search may see of them, what it is judged on, and how each method is scored.

Rank classification, as in T0: the answer choice with the greatest summed log-likelihood is the prediction. Labelled
few-shot examples and unlabelled examples are drawn from the training split and never among the evaluation rows; labels
of evaluation rows are used for nothing but the scores.
"""

import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from evaluation.metrics import RankClassification
from evaluation.report import Score, load_scores, save_scores
from modeling_ctr import CTRForConditionalGeneration
from search import BitwiseSearch, CodeEnsemble, CodeScorer, best_training_code, task_code_space
from tasks import DataError, FeatureBuilder, SplitRows, Task, few_shot_split

MAJORITY, RAW_LM, MEAN_CODE = "majority class", "raw LM", "mean training code"
BEST_BY_LOSS, BEST_BY_ACCURACY = "training code by loss", "training code by accuracy"
CODE_ENSEMBLE, BITWISE_SEARCH = "Code Ensemble", "Bitwise Search"


@dataclass(frozen=True)
class SearchSettings:
    """Which searches are run, and how. See [`search.CodeEnsemble`] and [`search.BitwiseSearch`]."""

    code_ensemble: bool = True
    bitwise_search: bool = True
    num_shots: int = 32
    num_unlabelled: int = 64
    num_codes: int = 60
    objective: str | None = None
    epochs: int = 20
    order: str = "random"
    num_starts: int = 1
    max_evaluations: int | None = None


@dataclass(frozen=True)
class TemplateExamples:
    """The tokenised examples of one held-out data set under one template; rows as `FeatureBuilder.evaluation` makes.

    `few_shot` is None where no search needs labels, `unlabelled` where none votes, `evaluation` where none is judged.
    """

    task: Task
    few_shot: Dataset | None
    unlabelled: Dataset | None
    evaluation: Dataset | None


@dataclass(frozen=True)
class FoundCode:
    """A method's code for a held-out task, and what it took to find it; the fields are those of [`Score`]."""

    template: str
    method: str
    code: list[int]
    labelled: int = 0
    unlabelled: int = 0
    evaluations: int = 0
    seconds: float = 0.0


def most_varied_templates(
    model: CTRForConditionalGeneration,
    tasks: Sequence[Task],
    rows: SplitRows,
    builder: FeatureBuilder,
    settings: SearchSettings,
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
    unlabelled = rows.train.select(_unlabelled_rows(rows, settings, seed))

    def entropy(task: Task) -> float:
        scorer = CodeScorer(model, builder.evaluation(task, unlabelled))
        shares = np.bincount(scorer.raw_choice_log_likelihoods().argmax(1).numpy()) / scorer.num_examples
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

    chosen = sorted(tasks, key=entropy, reverse=True)[:count]  # stable: of equals the first
    return [task for task in tasks if task in chosen]


def held_out_examples(
    tasks: Sequence[Task],
    rows: SplitRows,
    builder: FeatureBuilder,
    settings: SearchSettings,
    seed: int,
    judged: bool,
    max_eval_samples: int | None = None,
) -> list[TemplateExamples]:
    """Draw and tokenise the examples of one data set, the same rows under each of its templates.

    Args:
        tasks: Tasks of one data set.
        rows: Its rows.
        builder: Tokenises them.
        settings: How many are drawn.
        seed: Of both draws.
        judged: Whether there is an evaluation, which needs labelled rows.
        max_eval_samples: Evaluate on the first so many rows only.

    Raises:
        DataError: A task has no answer choices, or the data set has too few rows.
    """
    for task in tasks:
        if not task.has_choices:
            raise DataError(f"Task {task.name!r} has no answer choices, which rank classification needs.")
    few_shot = unlabelled = evaluation = [None] * len(tasks)
    evaluation_rows = rows.evaluation
    if settings.bitwise_search:
        split = few_shot_split(tasks[0], rows, settings.num_shots, seed)
        evaluation_rows = split.evaluation
        few_shot = [builder.evaluation(task, split.train) for task in tasks]
    if settings.code_ensemble:
        chosen = rows.train.select(_unlabelled_rows(rows, settings, seed))
        unlabelled = _with_common_rows([builder.evaluation(task, chosen) for task in tasks])
    if judged:
        size = len(evaluation_rows) if max_eval_samples is None else min(max_eval_samples, len(evaluation_rows))
        evaluation = [builder.evaluation(task, evaluation_rows.select(range(size))) for task in tasks]
    return [TemplateExamples(*each) for each in zip(tasks, few_shot, unlabelled, evaluation, strict=True)]


def search_dataset(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """Find codes for one held-out data set by every search of the settings.

    Results and traces are written into `output_dir` as they come; what is finished is not computed again.
    """
    finished = output_dir / "found_codes.json"
    if finished.is_file():
        return [FoundCode(**found) for found in json.loads(finished.read_text(encoding="utf-8"))]
    output_dir.mkdir(parents=True, exist_ok=True)
    found = []
    if settings.bitwise_search:
        for each in examples:
            found += few_shot_searches(model, each, settings, seed, output_dir)
    if settings.code_ensemble:
        found.append(code_ensemble(model, examples, settings, output_dir))
    finished.write_text(json.dumps([asdict(f) for f in found], indent=1), encoding="utf-8")
    return found


def few_shot_searches(
    model: CTRForConditionalGeneration,
    examples: TemplateExamples,
    settings: SearchSettings,
    seed: int,
    output_dir: Path,
) -> list[FoundCode]:
    """The best training code, by loss and by accuracy, and Bitwise Search, under one template."""
    template = examples.task.template.name
    file_name = re.sub(r"[^\w.-]+", "_", template)
    start = time.perf_counter()
    scorer = CodeScorer(model, examples.few_shot)
    training = best_training_code(scorer, objective=settings.objective)
    training.save(output_dir / f"training_code_{file_name}.json")
    cost = {"labelled": scorer.num_examples, "evaluations": len(training.table)}
    cost["seconds"] = time.perf_counter() - start
    by_accuracy = training.best_by_accuracy().code
    result = BitwiseSearch(
        scorer,
        task_code_space(model),
        objective=settings.objective,
        num_starts=settings.num_starts,
        order=settings.order,
        epochs=settings.epochs,
        seed=seed,
        max_evaluations=settings.max_evaluations,
        prune=True,
        trace_path=output_dir / f"bitwise_search_{file_name}.jsonl",
    ).run()
    result.save(output_dir / f"bitwise_search_{file_name}.json")
    return [
        FoundCode(template, BEST_BY_LOSS, training.code, **cost),
        FoundCode(template, BEST_BY_ACCURACY, by_accuracy, **cost),
        FoundCode(
            template,
            BITWISE_SEARCH,
            result.code,
            labelled=scorer.num_examples,
            evaluations=result.evaluations,
            seconds=time.perf_counter() - start,
        ),
    ]


def code_ensemble(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    settings: SearchSettings,
    output_dir: Path,
) -> FoundCode:
    """Code Ensemble over all templates of the data set."""
    start = time.perf_counter()
    scorers = {each.task.template.name: CodeScorer(model, each.unlabelled) for each in examples}
    result = CodeEnsemble(scorers, num_codes=settings.num_codes).run()
    result.save(output_dir / "code_ensemble.json")
    return FoundCode(
        result.template,
        CODE_ENSEMBLE,
        result.code,
        unlabelled=len(examples[0].unlabelled),
        evaluations=len(result.members),
        seconds=time.perf_counter() - start,
    )


def score_dataset(
    model: CTRForConditionalGeneration,
    examples: Sequence[TemplateExamples],
    found: Sequence[FoundCode],
    seed: int,
    output_dir: Path,
) -> list[Score]:
    """Accuracies of the found codes on the evaluation rows, beside what one has without searching.

    Written into `output_dir`; not computed again where they stand there.
    """
    finished = output_dir / "scores.json"
    if finished.is_file():
        return load_scores(finished)[0]
    scores = []
    for each in examples:
        judge = Judge(model, each, seed)
        scores += [judge.majority(), judge.raw_lm(), judge.mean_training_code()]
        scores += [judge.found(f) for f in found if f.template == each.task.template.name]
    save_scores(scores, finished, {"dataset": examples[0].task.dataset, "seed": seed})
    return scores


class Judge:
    """Scores methods on the evaluation rows of one data set under one template.

    Args:
        model: A CTR model.
        examples: The examples; only `evaluation` is looked at.
        seed: Of the few-shot draw; noted in the scores.
    """

    def __init__(self, model: CTRForConditionalGeneration, examples: TemplateExamples, seed: int):
        self.model, self.seed = model, seed
        self.dataset, self.template = examples.task.dataset, examples.task.template.name
        self.scorer = CodeScorer(model, examples.evaluation, progress=True)
        self.answers = self.scorer.require_answers("The evaluation").numpy()
        self.metric = RankClassification()

    def majority(self) -> Score:
        """Always the most frequent answer of the evaluation rows: what must be beaten, not a method."""
        majority = np.bincount(self.answers).argmax()
        return self.scored(MAJORITY, np.full_like(self.answers, majority))

    def raw_lm(self) -> Score:
        """The language model on the same input, without a prompt."""
        return self.scored(RAW_LM, self.scorer.raw_choice_log_likelihoods().argmax(1).numpy())

    def mean_training_code(self) -> Score:
        """Mean over the codes of all training tasks: what a code picked at random is worth."""
        predictions = self.scorer.predictions(self.model.task_codes()).numpy()
        scores = [self.scored(MEAN_CODE, of_code) for of_code in predictions]
        shares = np.mean([s.predicted_shares for s in scores], axis=0).tolist()
        accuracy = float(np.mean([s.accuracy for s in scores]))
        macro_f1 = float(np.mean([s.macro_f1 for s in scores]))
        return replace(scores[0], accuracy=accuracy, macro_f1=macro_f1, predicted_shares=shares)

    def found(self, found: FoundCode) -> Score:
        """The code that a search found."""
        details = asdict(found)
        del details["template"]
        return self.scored(predictions=self.scorer.predictions([found.code])[0], **details)

    def scored(self, method: str, predictions: Sequence[int], **details) -> Score:
        """Predictions of any method, `(num_examples,)`; `details` are fields of [`Score`]."""
        num_choices = self.scorer.prompt_scorer.max_choices
        values = self.metric.compute(predictions=predictions, references=self.answers, num_choices=num_choices)
        return Score(
            task=self.dataset,
            template=self.template,
            method=method,
            accuracy=values["accuracy"],
            macro_f1=values["macro_f1"],
            predicted_shares=values["predicted_shares"],
            num_examples=len(self.answers),
            seed=self.seed,
            **details,
        )


def _with_common_rows(columns: Sequence[Dataset]) -> list[Dataset]:
    """One data set's examples under several templates, without the rows that some template does not apply to."""
    common = set.intersection(*(set(features["row"]) for features in columns))
    return [features.filter(lambda row: row in common, input_columns="row") for features in columns]


def _unlabelled_rows(rows: SplitRows, settings: SearchSettings, seed: int) -> list[int]:
    """Unlike few-shot rows these are drawn without a look at the labels, which would tell their balance."""
    size = len(rows.train)
    return sorted(random.Random(seed).sample(range(size), min(settings.num_unlabelled, size)))
