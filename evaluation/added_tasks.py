"""What of the results becomes part of the model: found codes and tuned prompts, with what is known of their tasks."""

from functools import partial

from transformers.utils import logging

from evaluation.dataset_run import DatasetRun
from evaluation.method_names import KEPT_METHODS
from evaluation.result_files import get_tuning_path
from evaluation.settings import CODE_TUNING
from modeling_ctr import TaskDetails
from search import load_prompt_adapter
from search.scoring.processes import on_main_process
from tasks import FeatureBuilder, Task

logger = logging.get_logger(__name__)

SEPARATOR = "|||"  # between answer choices


def add_codes(run: DatasetRun, builder: FeatureBuilder) -> None:
    """Add the codes found as tasks `dataset/template`: those of the first method that was run of `KEPT_METHODS`."""
    methods = {each.method for each in run.found}
    best = next((method for method in KEPT_METHODS if method in methods), None)
    tasks = {each.task.template.name: each.task for each in run.examples}
    for each in run.found:
        if each.method == best:
            task = tasks[each.template]
            name = f"{task.dataset}/{each.template}"
            if name in run.model.config.added_task_codes:  # of an earlier search
                run.model.remove_task(name)
            run.model.add_task(name, each.code, get_task_details(task, builder))
            logger.info(f"{name} is now a task of the model, with the code of {each.method}: {each.code}")


def add_tuned_prompts(run: DatasetRun, builder: FeatureBuilder) -> None:
    """Add the prompts that were tuned from a code, which the run's folder keeps, as tasks `dataset/template/tuned`."""
    for each in run.examples:
        name = f"{each.task.name}/tuned"
        if name in run.model.config.tuned_tasks:  # of an earlier run
            run.model.remove_task(name)
        adapter = get_tuning_path(run.folder, CODE_TUNING, each.task.template.name)
        vectors = on_main_process(partial(load_prompt_adapter, adapter))
        run.model.add_tuned_task(name, vectors, get_task_details(each.task, builder))


def get_task_details(task: Task, builder: FeatureBuilder) -> TaskDetails:
    """Return what whoever loads the task needs to use it; its answers where they are the same for all rows."""
    source = task.template.answer_choices
    answers = None if task.answers is None else list(task.answers)
    if answers is None and source is not None and not ("{{" in source or "{%" in source):
        answers = [choice.strip() for choice in source.split(SEPARATOR) if choice.strip()]
    return TaskDetails(
        answers=answers,
        labels=None if answers is None or task.labels is None else list(task.labels),
        template=task.template.jinja,
        max_source_length=builder.max_source_length,
        max_target_length=builder.max_target_length,
    )
