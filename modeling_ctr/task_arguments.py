"""Tasks as a call names them: by id, by code, or not at all."""

import difflib
from collections.abc import Sequence

import torch

from .configuration_ctr import CTRConfig


def task_tensors(
    config: CTRConfig,
    task_id: torch.Tensor | None,
    task_code: torch.Tensor | None,
    batch_size: int,
    device: torch.device | str,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Checked task ids `(batch,)` or codes `(batch, code_length)`, on `device`; the other one is None.

    Args:
        config: Says what is in range, and which task it is where none is given.
        task_id: `(batch,)`, or a scalar for the whole batch.
        task_code: `(batch, code_length)`, or `(code_length,)` for the whole batch.
        batch_size: Of the inputs.
        device: The codebook's.

    Raises:
        ValueError: Both are given, or neither where there is no default task; a shape or, on the CPU, a value is wrong.
    """
    if task_id is not None and task_code is not None:
        raise ValueError("Give either `task_id` or `task_code`, not both.")
    if task_id is None and task_code is None:
        default = config.default_task
        if default is None:
            raise ValueError(
                "No task is given: pass `task_id` or `task_code` (or `task=` to `generate`), or set the config's "
                "`default_task`."
            )
        if default in config.added_task_codes:
            task_code = torch.tensor(config.added_task_codes[default], device=device)
        else:
            task_id = torch.full((batch_size,), position_of(default, config.task_names), device=device)
    if task_id is not None:
        if task_id.dim() == 0:
            task_id = task_id.expand(batch_size)
        if task_id.shape != (batch_size,):
            raise ValueError(
                f"`task_id` has shape {tuple(task_id.shape)}, but a batch of {batch_size} needs ({batch_size},)."
            )
        _check_range(task_id, config.num_tasks, "`task_id`", "tasks")
        return task_id.to(device), None
    if task_code.dim() == 1:
        task_code = task_code.expand(batch_size, -1)
    if task_code.dim() != 2 or task_code.shape[0] != batch_size:
        raise ValueError(
            f"`task_code` has shape {tuple(task_code.shape)}, but a batch of {batch_size} needs "
            f"({batch_size}, {config.code_length}) or ({config.code_length},)."
        )
    check_code_tensor(task_code, config)
    return None, task_code.to(device)


def check_code_tensor(task_code: torch.Tensor, config: CTRConfig) -> None:
    """Raise a ValueError unless `(..., code_length)` codes have the config's length and, on the CPU, are in range."""
    if task_code.shape[-1] != config.code_length:
        raise ValueError(
            f"`task_code` has {task_code.shape[-1]} integers, but a task code of this model has {config.code_length}."
        )
    _check_range(task_code, config.codebook_size, "`task_code`", "code vectors")


def position_of(name: str, known: Sequence[str]) -> int:
    """Where a task's name stands among those known. Raises a ValueError, with names like it, if it does not."""
    if name in known:
        return known.index(name)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"it has {len(known)} tasks."
    raise ValueError(f"This model has no task '{name}': {hint}")


def _check_range(values: torch.Tensor, bound: int, name: str, what: str) -> None:
    """Raise a ValueError for CPU tensors with values outside `[0, bound)`; never waits for an accelerator."""
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if values.is_floating_point():
        raise ValueError(f"{name} must hold integers, but has dtype {values.dtype}.")
    wrong = values[(values < 0) | (values >= bound)]
    if wrong.numel():
        raise ValueError(
            f"{name} has the value {int(wrong[0])}, but there are only {bound} {what} (0 to {bound - 1})."
        )
