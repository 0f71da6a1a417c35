"""What is asked: data sets, templates, and the features made of them.

`load_tasks` reads templates, `select_tasks` picks some by name or by mixture, `load_rows` gets their rows, `FeatureBuilder` makes features;
`task_from_files` makes a task of files alone; `training_mixture` does that for many tasks at once, `few_shot_split` draws a few rows.
"""

from .data import SplitRows, load_rows
from .data_source import DataSource
from .errors import DataError, TemplateError
from .features import FeatureBuilder
from .few_shot import FewShotSplit, assert_disjoint, few_shot_split
from .file_task import load_file_rows, task_from_files
from .labeled_rows import has_answer, sample_rows, select_tasks_with_answers
from .mixtures import T0_HELD_OUT, T0_TRAINING, expand_mixtures
from .task import PROMPTED_TEMPLATES, SHIPPED_TEMPLATES, Example, Task, load_tasks, select_tasks
from .template import Template
from .template_file import load_template_file
from .tokenization import check_tokenizer
from .training_mixture import compute_mixture_counts, streaming_mixture, training_mixture

__all__ = [
    "PROMPTED_TEMPLATES",
    "SHIPPED_TEMPLATES",
    "T0_HELD_OUT",
    "T0_TRAINING",
    "DataError",
    "DataSource",
    "Example",
    "FeatureBuilder",
    "FewShotSplit",
    "SplitRows",
    "Task",
    "Template",
    "TemplateError",
    "assert_disjoint",
    "check_tokenizer",
    "expand_mixtures",
    "few_shot_split",
    "has_answer",
    "load_file_rows",
    "load_rows",
    "load_tasks",
    "load_template_file",
    "compute_mixture_counts",
    "sample_rows",
    "select_tasks",
    "select_tasks_with_answers",
    "streaming_mixture",
    "task_from_files",
    "training_mixture",
]
