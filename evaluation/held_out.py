"""All methods on all held-out data sets, for every few-shot seed, with a report after each."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from evaluation import ctr_methods, prompted_methods
from evaluation.kept_results import keep, load_kept
from evaluation.protocol import (
    Draws,
    Judge,
    TemplateExamples,
    file_name_of,
    held_out_examples,
    inputs_of,
    most_varied_templates,
)
from evaluation.report import write_report
from evaluation.score import Score, load_scores, save_scores
from evaluation.tuning_methods import CODE_TUNING, METHODS, PROMPT_METHODS, TuningSettings, score_tuning
from modeling_ctr import CTRForConditionalGeneration
from search import load_prompt_adapter
from search.scoring.model_modes import autocast_around
from search.scoring.processes import is_main_process, on_main_process
from tasks import FeatureBuilder, SplitRows, Task

logger = logging.get_logger(__name__)

# Whose codes become part of the checkpoint, the first that was run.
KEPT_METHODS = (
    ctr_methods.BITWISE_SEARCH,
    ctr_methods.POPULATION_SEARCH,
    ctr_methods.CODE_ENSEMBLE,
)


@dataclass(frozen=True)
class HeldOutSettings:
    """What is done with held-out tasks.

    Attributes:
        draws: Which examples are used.
        search: Searches for codes, of a CTR model.
        prompt_selection: Whether prompts are chosen by few labels and by a vote, of a plain language model.
        tuning: Few-shot tuning to compare with.
        seeds: Of the draws; everything is done once for each.
        templates_per_dataset: See [`most_varied_templates`].
        length_normalization: See [`Judge`].
    """

    draws: Draws = field(default_factory=Draws)
    search: ctr_methods.SearchSettings = field(default_factory=ctr_methods.SearchSettings)
    prompt_selection: bool = False
    tuning: TuningSettings = field(default_factory=TuningSettings)
    seeds: tuple[int, ...] = (42,)
    templates_per_dataset: int | None = None
    length_normalization: bool = False


def evaluate_held_out(
    model: PreTrainedModel,
    tasks: Sequence[Task],
    rows_of: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    settings: HeldOutSettings,
    output_dir: Path,
) -> list[Score]:
    """Run the methods of the settings that fit the model, on each data set, and write reports into `output_dir`.

    Codes found and prompts tuned from a code with the first seed are added to a CTR model. What an interrupted run
    finished is not computed again. Of several processes all call this, share the work, and return the same; the main
    one writes.

    Args:
        model: A CTR model, or a plain language model, which is then the T0 baseline.
        tasks: Of any number of data sets.
        rows_of: Loads a task's rows.
        builder: Tokenises them.

    Raises:
        DataError: A data set has too few rows, or a method does not fit its tasks.
        ValueError: The names of two templates are the same as names of files.
    """
    scores: list[Score] = []
    about = {"model": model.name_or_path, "protocol": settings.draws.protocol, "few-shot seeds": list(settings.seeds)}
    if settings.length_normalization:
        about["answers ranked by"] = "log-probability per token"
    if (autocast := autocast_around(model.device)) is not None:
        about["autocast"] = str(autocast)
    for dataset in dict.fromkeys(task.dataset for task in tasks):
        of_dataset = [task for task in tasks if task.dataset == dataset]
        require_own_files(of_dataset)
        rows = rows_of(of_dataset[0])
        if settings.templates_per_dataset is not None:
            of_dataset = most_varied_templates(
                model,
                of_dataset,
                rows,
                builder,
                settings.draws.num_unlabelled,
                settings.seeds[0],
                settings.templates_per_dataset,
            )
        judges: dict[tuple[str, str], Judge] = {}  # what a judge has scored, it remembers for the next seed
        for seed in settings.seeds:
            logger.info(f"{dataset}, few-shot seed {seed}")
            folder = output_dir / "held_out" / file_name_of(dataset) / f"seed_{seed}"
            examples = held_out_examples(of_dataset, rows, builder, settings.draws, seed)
            inputs = inputs_of(model, examples)
            found: list[ctr_methods.FoundCode] = []
            if isinstance(model, CTRForConditionalGeneration):
                found = ctr_methods.search_dataset(model, examples, inputs, settings.search, seed, folder)
                if seed == settings.seeds[0]:
                    add_codes(model, dataset, found)
            if settings.draws.judged:
                scores += _scores_of(model, examples, inputs, found, builder, settings, judges, seed, folder)
                if seed == settings.seeds[0] and CODE_TUNING in settings.tuning.methods:
                    add_tuned_prompts(model, examples, folder)
                if is_main_process():  # after each, so that an interrupted run leaves a report of what it did
                    write_report(scores, output_dir, about)
    return scores


def add_codes(model: CTRForConditionalGeneration, dataset: str, found: Sequence[ctr_methods.FoundCode]) -> None:
    """Add the codes found as tasks `dataset/template`: those of the first method that was run of `KEPT_METHODS`."""
    methods = {each.method for each in found}
    best = next((method for method in KEPT_METHODS if method in methods), None)
    for each in found:
        if each.method == best:
            name = f"{dataset}/{each.template}"
            model.config.added_task_codes.pop(name, None)  # of an earlier search
            model.add_task(name, each.code)
            logger.info(f"{name} is now a task of the model, with the code of {each.method}: {each.code}")


def add_tuned_prompts(model: CTRForConditionalGeneration, examples: Sequence[TemplateExamples], folder: Path) -> None:
    """Add the prompts that were tuned from a code, which `folder` keeps, as tasks `dataset/template/tuned`."""
    for each in examples:
        name = f"{each.task.name}/tuned"
        if name in model.config.tuned_tasks:  # of an earlier run
            model.remove_task(name)
        adapter = tuning_path(folder, CODE_TUNING, each.task.template.name)
        model.add_tuned_task(name, on_main_process(partial(load_prompt_adapter, adapter)))


def require_own_files(tasks: Sequence[Task]) -> None:
    """Raises a ValueError where two templates of a data set would write the same files."""
    named: dict[str, Task] = {}
    for task in tasks:
        other = named.setdefault(file_name_of(task.template.name), task)
        if other is not task:
            raise ValueError(f"The files of {other.name!r} and {task.name!r} would have the same names: rename one.")


def tuning_path(folder: Path, method: str, template: str) -> Path:
    """Where the outcome of a tuning method under a template is kept: a tuned prompt there, scores in a `.json` beside."""
    return folder / f"{method}_{file_name_of(template)}"


def _scores_of(
    model: PreTrainedModel,
    examples: Sequence[TemplateExamples],
    inputs: dict[str, Any],
    found: Sequence[ctr_methods.FoundCode],
    builder: FeatureBuilder,
    settings: HeldOutSettings,
    judges: dict[tuple[str, str], Judge],
    seed: int,
    folder: Path,
) -> list[Score]:
    """Scores of all methods on one data set with one seed; kept in `folder`, as they come where they take long.

    What is kept counts as long as the model, the examples and the settings are those of now.
    """
    finished = folder / "scores.json"
    asked = {**inputs, "settings": asdict(settings)}
    kept = load_kept(finished, asked, load_scores)
    adapters = [
        tuning_path(folder, method, score.template)
        for score in kept or ()
        for method in PROMPT_METHODS
        if score.method.endswith(METHODS[method])
    ]
    if kept is not None and all(map(has_adapter, adapters)):
        return kept
    by_template: dict[str, Judge] = {}
    for each in examples:
        judge = Judge(model, each, builder, settings.length_normalization)
        by_template[judge.template] = judges.setdefault(judge.key, judge)
    few_shot = {each.task.template.name: each.few_shot for each in examples}

    def tuned(template: str, code: list[int] | None, prefix: str = "") -> list[Score]:
        scores = []
        for method in settings.tuning.methods:
            adapter = tuning_path(folder, method, template)
            path = adapter.with_name(f"{adapter.name}.json")
            kept = load_kept(path, asked, load_scores)
            if kept is None or (method in PROMPT_METHODS and not has_adapter(adapter)):
                logger.info(f"{by_template[template].dataset}, {template}: {method}")
                judge = by_template[template]
                score = score_tuning(method, judge, few_shot[template], settings.tuning, seed, adapter, code, prefix)
                kept = [score]
                keep(partial(save_scores, kept, path, asked))
            scores += kept
        return scores

    scores = []
    if isinstance(model, CTRForConditionalGeneration):
        codes = {each.template: each.code for each in found if each.method == ctr_methods.BEST_BY_LOSS}
        for template, judge in by_template.items():
            scores += ctr_methods.score_codes(judge, found, settings.search.calibrated, seed)
            scores += tuned(template, codes.get(template))
    else:
        scores += prompted_methods.score_prompts(by_template, seed)
        if settings.prompt_selection or settings.tuning.methods:
            template, cost = prompted_methods.prompt_by_loss(model, examples)
            chosen = by_template[template].raw_lm(seed, prompted_methods.PROMPT_BY_LOSS)
            scores += [replace(chosen, **cost), *tuned(template, None, prefix="T0 + ")]
        if settings.prompt_selection and examples[0].task.has_choices:
            template, cost = prompted_methods.prompt_by_vote(model, examples, settings.search.num_codes)
            chosen = by_template[template].raw_lm(seed, prompted_methods.PROMPT_BY_VOTE)
            scores.append(replace(chosen, **cost))
    keep(partial(save_scores, scores, finished, asked))
    return scores


def has_adapter(folder: Path) -> bool:
    """Whether a tuned prompt can be read from a folder; the log tells where it is damaged."""

    def look() -> bool:
        try:
            load_prompt_adapter(folder)
        except (OSError, ValueError, SafetensorError) as error:
            logger.warning(f"The tuned prompt in '{folder}' cannot be read ({error}), and is tuned again.")
            return False
        return True

    return on_main_process(look)
