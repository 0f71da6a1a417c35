"""Where the results on a held-out data set lie."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from tasks import Task

LONGEST = 100  # bytes; what stands before and behind needs some, too


def get_file_name(name: str) -> str:
    """Return a template's or data set's name without what a file's name may not have, and not longer than one may be."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    if len(plain.encode()) <= LONGEST:
        return plain
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:8]
    return f"{plain.encode()[:LONGEST].decode(errors='ignore')}_{digest}"


def get_dataset_folder(output_dir: Path, dataset: str, seed: int) -> Path:
    """Return the folder of a data set's results with one few-shot seed."""
    return output_dir / "held_out" / get_file_name(dataset) / f"seed_{seed}"


def get_tuning_path(folder: Path, method: str, template: str) -> Path:
    """Return where the outcome of a tuning method is kept: a tuned prompt there, its score in a `.json` beside."""
    return folder / f"{method}_{get_file_name(template)}"


def require_own_files(tasks: Sequence[Task]) -> None:
    """Raise a ValueError where two templates of a data set would write the same files."""
    named: dict[str, Task] = {}
    for task in tasks:
        other = named.setdefault(get_file_name(task.template.name), task)
        if other is not task:
            raise ValueError(f"The files of {other.name!r} and {task.name!r} would have the same names: rename one.")
