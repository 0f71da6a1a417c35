"""How a model's tasks are asked, and labeled rows to ask them of: what the model keeps of a task, template files, data sets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from export.loading import select_names
from modeling_ctr import CTRPreTrainedModel
from prediction.task_texts import LABEL, make_task
from tasks import SHIPPED_TEMPLATES, Task, load_file_rows, load_rows, load_tasks, sample_rows
from tasks.file_task import LABEL_POSITION
from tasks.template import ANSWER_CHOICES, SEPARATOR


def find_questions(
    model: CTRPreTrainedModel,
    names: Sequence[str],
    *,
    templates_dir: Sequence[str] = (),
    data_dir: str | None = None,
    test_file: str | None = None,
    label_column: str = LABEL,
    max_eval_samples: int | None = None,
) -> dict[str, tuple[Task, Dataset]]:
    """Find for each of the model's tasks how it is asked, and rows.

    Args:
        model: The model.
        names: Names of its tasks.
        templates_dir: Template files or folders, beside the shipped ones.
        data_dir: Folder of data sets' rows, see `tasks.load_rows`.
        test_file: File of labeled rows, for a single task.
        label_column: Its column of labels.
        max_eval_samples: Number of rows to draw where there are more, as `run_ctr.py --max_eval_samples` draws them.

    Raises:
        DataError: The rows cannot be loaded.
        ValueError: A task is unknown, it is not known how it is asked or of which rows, or there is one file for several.
    """
    names = select_names(model, names)
    if test_file is not None and len(names) > 1:
        raise ValueError(f"There is one file of rows for {len(names)} tasks: name one task.")
    known = load_tasks(SHIPPED_TEMPLATES, *templates_dir)
    questions = {}
    for name in names:
        details = model.task_details(name)
        if test_file is not None and details.template is not None:
            task = replace(make_task(name, details), labels=tuple(details.labels or details.answers or ()) or None)
            rows = _load_file(task, test_file, label_column)
        elif name in known and test_file is None:
            task = known[name]
            rows = load_rows(task.dataset, task.source, data_dir).evaluation
        elif details.template is not None:
            raise ValueError(f"There are no rows to ask '{name}' of: name them with `--test_file`.")
        else:
            raise ValueError(f"How '{name}' is asked is not kept in the model, nor known from template files.")
        _check_columns(name, task, rows)
        questions[name] = (task, rows if max_eval_samples is None else sample_rows(task, rows, max_eval_samples))
    return questions


def _load_file(task: Task, path: str, label_column: str) -> Dataset:
    """Rows of a file, with the position of each label where the template looks for it."""
    rows = load_file_rows(task, Path(path), label_column=label_column)
    if LABEL_POSITION not in rows.column_names or LABEL_POSITION in task.template.fields:
        return rows
    if ANSWER_CHOICES not in task.template.jinja.rpartition(SEPARATOR)[2]:  # the target is the label itself
        return rows.remove_columns(LABEL_POSITION)
    rows = rows.remove_columns([name for name in rows.column_names if name == LABEL])
    return rows.rename_column(LABEL_POSITION, LABEL)


def _check_columns(name: str, task: Task, rows: Dataset) -> None:
    if missing := sorted(task.template.fields - {*rows.column_names}):
        raise ValueError(
            f"The rows have no column {missing[0]!r}, which the template of '{name}' shows, but "
            f"{', '.join(rows.column_names)}."
        )
