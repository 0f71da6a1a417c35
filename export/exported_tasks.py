"""`tasks.json`: what an exported model's tasks are written as."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

from modeling_ctr import TaskCode
from modeling_ctr.hub_errors import loading_errors
from safe_files import write_json

TASKS_NAME = "tasks.json"
FORMAT = "ctr-exported-tasks"
CODE_TOKEN = "<c{}>"
TUNED_TOKEN = "<t{}_{}>"  # number of the tuned task, position


@dataclass(frozen=True)
class ExportedTasks:
    """What an exported model's tasks are written as.

    Args:
        code_length: Integers of a code.
        codebook_size: Values each may take; value v is the token `<cv>`.
        vocab_size: Tokens that the model can answer with. Its logits beyond are of code tokens, and no answers.
        start: Text that follows the code tokens, before the input.
        target_start: Text that the tokenizer would have put before a target, likewise.
        codebook_hash: Digest of the codebook, as task code files have it.
        position: Where the code stands: as a "prefix" of the text, or as its "suffix".
        tasks: By name: `prefix` (or `suffix`), `code` (None for a tuned task), and what is known of `TaskDetails`.
    """

    code_length: int
    codebook_size: int
    vocab_size: int
    start: str
    target_start: str
    codebook_hash: str
    position: str = "prefix"
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get_prefix(self, task: str | Sequence[int] | TaskCode) -> str:
        """Return the text to put in front of an input (behind it, where `position` says so), without a space between.

        Args:
            task: Name of an exported task, or any code, such as one found later, or one out of a task code file.

        Raises:
            ValueError: There is no such task, or the code is none of this codebook.
        """
        if isinstance(task, str):
            if task not in self.tasks:
                raise ValueError(f"There is no task '{task}' in the exported model; it has {', '.join(self.tasks)}.")
            return self.tasks[task][self.position]
        if isinstance(task, TaskCode):
            if task.codebook_hash != self.codebook_hash:
                raise ValueError(
                    f"The code of '{task.name}' belongs to another codebook, that of '{task.checkpoint}': its integers stand "
                    "for other vectors here."
                )
            task = task.code
        code = list(task)
        if len(code) != self.code_length:
            raise ValueError(f"The code has {len(code)} integers, but a code of this model has {self.code_length}.")
        for value in code:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < self.codebook_size:
                raise ValueError(
                    f"The code has the value {value!r}, but must hold integers from 0 to {self.codebook_size - 1}."
                )
        return "".join(map(CODE_TOKEN.format, code)) + self.start

    def join(self, task: str | Sequence[int] | TaskCode, text: str) -> str:
        """Return an input with its task written to it; raises as [`get_prefix`]."""
        code = self.get_prefix(task)
        return code + text if self.position == "prefix" else text + code

    def write(self, folder: str | Path) -> None:
        """Write it as `tasks.json`."""
        write_json(Path(folder) / TASKS_NAME, {"format": FORMAT, **asdict(self)})


def load_exported_tasks(name_or_path: str | os.PathLike, **hub_options: Any) -> ExportedTasks:
    """Read the tasks of an exported model, from its folder or from the Hub.

    Args:
        hub_options: `revision`, `token` and `cache_dir`.

    Raises:
        OSError: There is no such folder or repository, or no `tasks.json` in it.
        ValueError: The file is damaged or something else.
    """
    path = Path(name_or_path) / TASKS_NAME
    if not Path(name_or_path).is_dir():
        with loading_errors(name_or_path):
            path = Path(hf_hub_download(str(name_or_path), TASKS_NAME, **hub_options))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format", None) == FORMAT:
            return ExportedTasks(**content)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"'{path}' is damaged: export the model again.") from error
    raise ValueError(f'\'{path}\' is not what an export writes: it has no "format": "{FORMAT}".')


def get_task_prefix(name_or_path: str | os.PathLike, task: str | Sequence[int] | TaskCode, **hub_options: Any) -> str:
    """Return the text to put in front of an input of an exported model, see [`ExportedTasks.get_prefix`].

    Args:
        name_or_path: Folder or Hub name of the exported model.
        hub_options: `revision`, `token` and `cache_dir`.
    """
    return load_exported_tasks(name_or_path, **hub_options).get_prefix(task)
