"""All methods on all held-out data sets, for every few-shot seed, with a report as they come."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging

from evaluation.added_tasks import add_codes, add_tuned_prompts
from evaluation.ctr_methods import find_codes, score_codes
from evaluation.dataset_run import DatasetRun
from evaluation.examples import Draws, TemplateExamples, draw_examples
from evaluation.judge import Judge
from evaluation.kept_results import keep, load_kept
from evaluation.prompted_methods import score_prompts
from evaluation.report import RunningReport
from evaluation.result_files import get_dataset_folder, require_own_files
from evaluation.score import Score, load_scores, save_scores
from evaluation.settings import CODE_TUNING, HeldOutSettings, TuningSettings, get_settings
from evaluation.template_choice import choose_most_varied
from evaluation.tuning_methods import has_whole_adapters, score_tuning
from modeling_ctr.model_modes import autocast_around
from search import SearchConfig, model_fingerprint
from search.scoring.processes import is_main_process
from tasks import FeatureBuilder, SplitRows, Task

logger = logging.get_logger(__name__)

METHODS: tuple[Callable[[DatasetRun], list[Score]], ...] = (score_codes, score_prompts, score_tuning)


def evaluate_held_out(
    model: PreTrainedModel,
    tasks: Sequence[Task],
    load_rows: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    settings: HeldOutSettings,
    output_dir: Path,
    *,
    search: SearchConfig | None = None,
    tuning: TuningSettings | None = None,
    do_eval: bool = True,
    max_eval_samples: int | None = None,
) -> list[Score]:
    """Run the methods of the settings that fit the model, on each data set, and write reports into `output_dir`.

    Codes found and prompts tuned from a code with the first seed are added to a CTR model. What an interrupted run
    finished is not computed again. All processes of a run call this and share the work; the main one writes.

    Args:
        model: A CTR model, or a plain language model, which is then the T0 baseline.
        tasks: Tasks of any number of data sets.
        load_rows: Loads a task's rows.
        builder: Tokenizes them.
        settings: What is done.
        output_dir: Folder for results and reports.
        search: How codes are searched. Default: [`SearchConfig`]'s.
        tuning: Which rivals tune on the few-shot examples. Default: none.
        do_eval: Whether the methods are judged on evaluation rows; else codes are found only.
        max_eval_samples: Evaluation rows of a data set, at most.

    Raises:
        DataError: A data set has too few rows, or a method does not fit its tasks.
        ValueError: The names of two templates are the same as names of files.
    """
    tuning = tuning or TuningSettings()
    search = SearchConfig(**get_settings(SearchConfig, search or SearchConfig()))
    draws = _get_draws(settings, tuning, do_eval, max_eval_samples)
    scores: list[Score] = []
    digest = model_fingerprint(model)
    report = RunningReport(output_dir, _describe_run(model, settings))
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    for dataset in datasets:
        rows, of_dataset = _load_dataset(dataset, model, tasks, load_rows, builder, settings)
        judges: dict[tuple, Judge] = {}  # what a judge has scored, it remembers for the next seed
        for seed in settings.few_shot_seeds:
            logger.info(f"{dataset}, few-shot seed {seed}")
            examples = draw_examples(of_dataset, rows, builder, draws, seed)
            folder = get_dataset_folder(output_dir, dataset, seed)
            run = DatasetRun(model, digest, examples, settings, search, tuning, seed, folder)
            run = replace(run, found=find_codes(run))
            if do_eval:
                scores += score_methods(run, partial(_get_judge, judges, model, builder, settings))
            if seed == settings.few_shot_seeds[0] and run.is_ctr:
                add_codes(run, builder)
                if do_eval and CODE_TUNING in tuning.tuning_methods:
                    add_tuned_prompts(run, builder)
            if do_eval and is_main_process():
                report.update(scores, is_last=(dataset, seed) == (datasets[-1], settings.few_shot_seeds[-1]))
    return scores


def score_methods(run: DatasetRun, get_judge: Callable[[TemplateExamples], Judge]) -> list[Score]:
    """Score all methods on one data set with one seed; kept in the run's folder.

    What is kept counts as long as the model, the examples and the settings are those of now.
    """
    settings = get_settings(HeldOutSettings, run.settings) | get_settings(TuningSettings, run.tuning)
    settings |= get_settings(SearchConfig, run.search)
    for name in ("few_shot_seeds", "tuning"):  # the first says what else is done, the second is in the other flags
        del settings[name]
    finished, asked = run.folder / "scores.json", {**run.inputs, "settings": settings}
    kept = load_kept(finished, asked, load_scores)
    if kept is not None and has_whole_adapters(run):
        return kept
    run = replace(run, judges={each.task.template.name: get_judge(each) for each in run.examples})
    scores = [score for score_method in METHODS for score in score_method(run)]
    keep(partial(save_scores, scores, finished, asked))
    return scores


def _get_draws(settings: HeldOutSettings, tuning: TuningSettings, judged: bool, max_eval_samples: int | None) -> Draws:
    num_shots = settings.num_shots if settings.needs_labels or tuning.tuning_methods else 0
    num_unlabelled = settings.num_unlabelled if settings.needs_unlabelled else 0
    return Draws(num_shots, num_unlabelled, judged, max_eval_samples, settings.protocol)


def _load_dataset(
    dataset: str,
    model: PreTrainedModel,
    tasks: Sequence[Task],
    load_rows: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    settings: HeldOutSettings,
) -> tuple[SplitRows, Sequence[Task]]:
    """Rows of one data set, and those of its tasks that are asked."""
    tasks = [task for task in tasks if task.dataset == dataset]
    require_own_files(tasks)
    rows = load_rows(tasks[0])
    if settings.templates_per_dataset is not None:
        choice = (settings.num_unlabelled, settings.few_shot_seeds[0], settings.templates_per_dataset)
        tasks = choose_most_varied(model, tasks, rows, builder, *choice)
    return rows, tasks


def _get_judge(
    judges: dict[tuple, Judge],
    model: PreTrainedModel,
    builder: FeatureBuilder,
    settings: HeldOutSettings,
    examples: TemplateExamples,
) -> Judge:
    """The judge of an earlier seed, where its rows are the same."""
    judge = Judge(model, examples, builder, settings.length_normalization)
    return judges.setdefault(judge.key, judge)


def _describe_run(model: PreTrainedModel, settings: HeldOutSettings) -> dict[str, Any]:
    about = {
        "model": model.name_or_path,
        "protocol": settings.protocol,
        "few-shot seeds": list(settings.few_shot_seeds),
    }
    if settings.length_normalization:
        about["answers ranked by"] = "log-probability per token"
    if (autocast := autocast_around(model.device)) is not None:
        about["autocast"] = str(autocast)
    return about
