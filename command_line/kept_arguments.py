"""The arguments of a run, kept in its output directory, so that another run's results are never taken for its own."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.utils import logging

from safe_files import write_json

logger = logging.get_logger(__name__)

# It names local folders: pushes to the Hub leave out what begins with "_".
ARGUMENTS_NAME = "_arguments.json"

# What may differ between two runs in one `output_dir`: what is done, not how. What a step is made of and how long training
# is the trainer compares itself (`trainers.training_record`). And `output_dir` itself: a folder that was moved, or whose
# path is written otherwise, is the same folder.
FREE_ARGUMENTS = {
    "do_train", "do_eval", "do_predict", "do_code_ensemble",
    "do_bitwise_search", "do_population_search", "do_prompt_selection", "batch_calibration",
    "do_prompt_tuning", "do_code_tuning", "do_lora", "do_full_tuning", "tuning", "mean_training_code", "push_to_hub", "hub_model_id",
    "hub_token", "hub_private_repo", "resume_from_checkpoint", "preprocessing_num_workers", "dataloader_num_workers",
    "logging_steps", "report_to", "disable_tqdm", "run_name", "save_steps", "save_total_limit",
    "per_device_train_batch_size", "per_device_train_tokens", "gradient_accumulation_steps", "output_dir",
    "test_file",
    "max_steps", "num_train_epochs",
}  # fmt: skip
# Lists that may grow at their end: what there is of the shorter list stays, and the rest is computed.
GROWING = {"few_shot_seeds", "tasks"}
# Paths, which may be written in several ways.
PATHS = {"model_name_or_path", "data_dir", "templates_dir", "train_file", "validation_file", "test_file"}


def keep_arguments(output_dir: Path, *arguments: Any) -> None:
    """Write all arguments into `output_dir`, and refuse it where it holds a run with others.

    Args:
        output_dir: Folder of the run; made where there is none.
        arguments: Dataclasses; `TrainingArguments` without their secrets.

    Raises:
        ValueError: Some argument was another in the run whose results are there, other than that seeds or held-out tasks
            came to it, or `output_dir` is a file.
    """
    now: dict[str, Any] = {}
    for part in arguments:
        now |= part.to_dict() if isinstance(part, TrainingArguments) else asdict(part)
    now = json.loads(json.dumps(now, default=str))
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"`output_dir` is '{output_dir}', which is a file: name a folder.")
    path = output_dir / ARGUMENTS_NAME
    before = _load_kept_arguments(path)
    for name in sorted(set(before) & set(now) - FREE_ARGUMENTS):
        if not _is_same(name, before[name], now[name]):
            raise ValueError(
                f"'{output_dir}' holds a run with `{name}` {before[name]!r}, not {now[name]!r}: choose another "
                "`output_dir`, or delete that one to start anew."
            )
    write_json(path, now)


def _load_kept_arguments(path: Path) -> dict[str, Any]:
    """Load what the earlier run's file says; nothing where there is none, or it is damaged: all it tells is told again."""
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        logger.warning(
            f"'{path}' is damaged and made anew; whether the results beside it were made with the arguments of now "
            "cannot be told from it."
        )
        return {}
    return kept


def _is_same(name: str, before: Any, now: Any) -> bool:
    if name in PATHS:
        return _as_path(before) == _as_path(now)
    if name in GROWING and before:  # of none at all, another kind of run was made
        return before == now[: len(before)]
    return before == now


def _as_path(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_path(each) for each in value]
    if isinstance(value, str):
        return os.path.realpath(value) if os.path.exists(value) else os.path.normpath(value)
    return value
