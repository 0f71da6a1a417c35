"""What `--do_predict` is asked: tasks, each with the prompt of a method, and the rows to answer."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset

from command_line.task_files import FileArguments
from evaluation.added_tasks import get_task_details
from evaluation.ctr_methods import load_found_codes
from evaluation.method_names import KEPT_METHODS
from evaluation.result_files import get_dataset_folder, get_tuning_path
from evaluation.settings import KEPT_TUNING, TUNING_METHODS, TuningSettings
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.task_details import TaskDetails
from prediction.task_texts import make_task
from run_arguments import Arguments
from search import load_prompt_adapter
from search.scoring.processes import on_main_process
from tasks import FeatureBuilder, SplitRows, Task

logger = logging.getLogger("run_ctr")

# Of a task that the model knows already.
OWN = "the model's task"


@dataclass(frozen=True, eq=False)
class Question:
    """A task, a method's prompt for it, and rows.

    Attributes:
        task: Renders the rows.
        method: Name of the method that found the prompt.
        vectors: Prompt vectors `(prompt_length, width)`, float32.
        details: Answers, label values, calibration.
        rows: Rows to answer, labeled or not.
    """

    task: Task
    method: str
    vectors: torch.Tensor
    details: TaskDetails
    rows: Dataset


def get_found_questions(
    model: CTRPreTrainedModel,
    tasks: Sequence[Task],
    load_rows: Callable[[Task], SplitRows],
    builder: FeatureBuilder,
    arguments: Arguments,
    output_dir: Path,
) -> list[Question]:
    """Get a question for each task and method that this run asked for, with the first few-shot seed.

    Rows are those of the test file where there is one, else the evaluation rows.
    """
    files, tuning = arguments.files, arguments.tuning
    if left_out := [f"`--do_{method}`" for method in tuning.tuning_methods if method not in KEPT_TUNING]:
        logger.warning(
            f"`--do_predict` leaves out {' and '.join(left_out)}, whose weights are not kept: predictions are those of the "
            "other methods."
        )
    questions = []
    for task in tasks:
        folder = get_dataset_folder(output_dir, task.dataset, arguments.held_out.few_shot_seeds[0])
        rows = files.load_rows_to_predict(task)
        for method, vectors in _get_found_vectors(model, task, folder, tuning):
            rows = load_rows(task).evaluation if rows is None else rows
            questions.append(Question(task, method, vectors, get_task_details(task, builder), rows))
    return questions


def _get_found_vectors(
    model: CTRPreTrainedModel, task: Task, folder: Path, tuning: TuningSettings
) -> Iterator[tuple[str, torch.Tensor]]:
    found = folder / "found_codes.json"
    for each in on_main_process(lambda: load_found_codes(found)[0] if found.is_file() else []):
        if each.template == task.template.name and each.method in KEPT_METHODS:
            codes = torch.tensor([each.code], device=model.device)
            with torch.no_grad():
                yield each.method, model.prompt_vectors(codes)[0].float()
    for method in tuning.tuning_methods:
        if method in KEPT_TUNING:
            adapter = get_tuning_path(folder, method, task.template.name)
            yield TUNING_METHODS[method], on_main_process(partial(load_prompt_adapter, adapter))


def get_own_questions(
    model: CTRPreTrainedModel,
    names: Sequence[str],
    known: dict[str, Task],
    load_rows: Callable[[Task], SplitRows],
    files: FileArguments,
) -> list[Question]:
    """Get a question for each of the tasks that the model knows already, as a finished run or a checkpoint has them.

    Args:
        model: The model.
        names: Names of tasks or of data sets; none for all that were added to it.
        known: Tasks of template files, by name: they say how a task is asked of which the model does not know it.
        load_rows: Loads the rows of these.
        files: Names the rows to predict, which otherwise are the evaluation rows of a known task.

    Raises:
        ValueError: The model has no such task, or it is not known how one is asked or of which rows.
    """
    questions = []
    for name in _select_own(model, names):
        details = model.task_details(name)
        task = known.get(name)
        if details.template is not None:
            task = make_task(name, details) if files.test_file or task is None else task
        if task is None:
            raise ValueError(
                f"How '{name}' is asked is not kept in the model: name its template file by `--templates_dir`."
            )
        rows = files.load_rows_to_predict(task)
        if rows is None and name in known:
            rows = load_rows(task).evaluation
        if rows is None:
            raise ValueError(f"There are no rows to ask '{name}' of: name them with `--test_file`.")
        with torch.no_grad():
            questions.append(Question(task, OWN, model.get_task_vectors(name).float(), details, rows))
    return questions


def _select_own(model: CTRPreTrainedModel, names: Sequence[str]) -> list[str]:
    own = model.task_names
    if not names:
        added = own[model.config.num_tasks :]
        if not added:
            raise ValueError(
                "No task was added to the model: name one of its training tasks with `--tasks`, or search one."
            )
        return added
    selected = []
    for name in names:
        matching = [each for each in own if each == name or each.startswith(f"{name}/")]
        if not matching:
            model.task_details(name)  # raises, with names like it
        selected += matching
    return list(dict.fromkeys(selected))
