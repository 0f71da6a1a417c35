"""CTR models as plain ones: a task, also one found tomorrow, is a few tokens in front of the text.

All positions of a code share one decoder, so a codebook has as many prompt vectors as it has values. As extra rows of
the word embedding, with a token each, they make a checkpoint that any server can run, without this package.
"""

from export.exported_tasks import ExportedTasks, get_task_prefix, load_exported_tasks
from export.plain_checkpoint import export_model

__all__ = ["ExportedTasks", "export_model", "get_task_prefix", "load_exported_tasks"]
