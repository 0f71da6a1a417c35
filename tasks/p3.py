"""P3, T0's training data as rendered by its authors (https://huggingface.co/datasets/bigscience/P3): a task per subset.

A row is one prompted example: `inputs_pretokenized`, `targets_pretokenized` and, in subsets whose task has them,
`answer_choices` (a list). `P3/<subset>`, such as `P3/super_glue_rte_GPT_3_style`, names a task for `select_tasks`; its
rows are those of the folder `P3/<subset>` in the user's folder of rows, or else of the Hub.
"""

from pathlib import Path

from .data import load_rows
from .data_source import DataSource
from .errors import DataError
from .jinja_sandbox import ANSWER_CHOICES
from .template import Template

PREFIX = "P3/"
_INPUTS, _TARGETS = "inputs_pretokenized", "targets_pretokenized"
_JINJA = f"{{{{{_INPUTS}}}}}|||{{{{{_TARGETS}}}}}"
_CHOICES = f"{{{{{ANSWER_CHOICES} | join('|||')}}}}"


def get_p3_source(dataset: str) -> DataSource:
    """Where the Hub has a subset: its own files are for a loading script, the converted ones are plain Parquet."""
    return DataSource("bigscience/P3", data_dir=dataset.removeprefix(PREFIX), revision="refs/convert/parquet")


def get_p3_template(dataset: str, data_dir: str | Path | None = None) -> Template:
    """The template of a P3 subset; looks at its rows, which alone tell whether there are answer choices.

    Args:
        dataset: `P3/<subset>`.
        data_dir: See `load_rows`.

    Raises:
        DataError: The rows cannot be had or lack P3's columns, or hold one answer choice each (`..._score_eval`).
    """
    subset = dataset.removeprefix(PREFIX)
    if subset.endswith("_score_eval"):
        raise DataError(
            f"{dataset!r} holds one row for each answer choice; use {dataset.removesuffix('_score_eval')!r}, whose rows "
            "list all choices."
        )
    rows = load_rows(dataset, get_p3_source(dataset), data_dir).train
    if lacking := [name for name in (_INPUTS, _TARGETS) if name not in rows.column_names]:
        raise DataError(f"Data set {dataset!r} is not in P3's format: it has no column {lacking[0]!r}.")
    has_choices = ANSWER_CHOICES in rows.column_names and bool(rows[0][ANSWER_CHOICES])
    return Template(subset, _JINJA, _CHOICES if has_choices else None)
