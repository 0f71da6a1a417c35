"""The names that users need, from one place: `from task_codes import CTRForConditionalGeneration`.

A name is imported from its package when it is first asked for, so that `import task_codes` itself takes no time and a
search does not import the trainer. To add a name, give it in both lists below; a test compares them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which follow no lookup at run time
    from export import export_model as export_model
    from export import get_task_prefix as get_task_prefix
    from modeling_ctr import CTRConfig as CTRConfig
    from modeling_ctr import CTRForCausalLM as CTRForCausalLM
    from modeling_ctr import CTRForConditionalGeneration as CTRForConditionalGeneration
    from modeling_ctr import TaskDetails as TaskDetails
    from modeling_ctr import find_task_codes as find_task_codes
    from modeling_ctr import load_task_code as load_task_code
    from modeling_ctr import push_task_code as push_task_code
    from modeling_ctr import save_task_code as save_task_code
    from prediction import TaskClassifier as TaskClassifier
    from prediction import TaskSolver as TaskSolver
    from search import BitwiseSearch as BitwiseSearch
    from search import CodeEnsemble as CodeEnsemble
    from search import CodeScorer as CodeScorer
    from search import best_training_code as best_training_code
    from search import task_code_space as task_code_space
    from tasks import FeatureBuilder as FeatureBuilder
    from tasks import few_shot_split as few_shot_split
    from tasks import load_file_rows as load_file_rows
    from tasks import load_rows as load_rows
    from tasks import load_tasks as load_tasks
    from tasks import select_tasks as select_tasks
    from tasks import task_from_files as task_from_files
    from trainers import CTRTrainer as CTRTrainer
    from trainers import CTRTrainingArguments as CTRTrainingArguments
    from trainers.hub import push_to_hub as push_to_hub

__version__ = "0.1.0"

_MODULES = {
    "export_model": "export",
    "get_task_prefix": "export",
    "CTRConfig": "modeling_ctr",
    "CTRForCausalLM": "modeling_ctr",
    "CTRForConditionalGeneration": "modeling_ctr",
    "TaskDetails": "modeling_ctr",
    "find_task_codes": "modeling_ctr",
    "load_task_code": "modeling_ctr",
    "push_task_code": "modeling_ctr",
    "save_task_code": "modeling_ctr",
    "TaskClassifier": "prediction",
    "TaskSolver": "prediction",
    "BitwiseSearch": "search",
    "CodeEnsemble": "search",
    "CodeScorer": "search",
    "best_training_code": "search",
    "task_code_space": "search",
    "FeatureBuilder": "tasks",
    "few_shot_split": "tasks",
    "load_file_rows": "tasks",
    "load_rows": "tasks",
    "load_tasks": "tasks",
    "select_tasks": "tasks",
    "task_from_files": "tasks",
    "CTRTrainer": "trainers",
    "CTRTrainingArguments": "trainers",
    "push_to_hub": "trainers.hub",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next lookup finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
