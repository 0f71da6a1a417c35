"""The codes of all tasks as a JSON file beside a checkpoint's weights, for people and for other programs."""

import json
from pathlib import Path

import torch

from modeling_ctr import CTRConfig
from safe_files import write_text

TASK_CODES_NAME = "task_codes.json"


def write_task_codes(config: CTRConfig, task_codes: torch.Tensor, path: Path) -> None:
    """Write every training and added task's code as JSON: a mapping from names to lists of integers.

    Args:
        task_codes: Codes of the training tasks, `(num_tasks, code_length)`.
    """
    codes = config.codes_by_name(task_codes.tolist())
    lines = [f"  {json.dumps(name)}: {code}" for name, code in codes.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
