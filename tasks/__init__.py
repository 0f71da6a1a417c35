"""What is asked: data sets, templates, and the features made of them.

`load_tasks` reads templates, `select_tasks` picks some, `load_rows` gets their rows, `FeatureBuilder` makes features;
`training_mixture` does that for many tasks at once, `few_shot_split` draws a few rows.
"""

from .data import DataError, DataSource, SplitRows, load_rows
from .features import FeatureBuilder, check_tokenizer
from .few_shot import FewShotSplit, assert_disjoint, few_shot_split
from .mixture import mixture_counts, training_mixture
from .task import SHIPPED_TEMPLATES, Example, Task, load_tasks, select_tasks
from .template import Template, TemplateError, load_template_file

__all__ = [
    "SHIPPED_TEMPLATES",
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
    "few_shot_split",
    "load_rows",
    "load_tasks",
    "load_template_file",
    "mixture_counts",
    "select_tasks",
    "training_mixture",
]
