"""Tasks as a call gives them: by id, by code or as prompt vectors."""

import difflib
from collections.abc import Sequence
from typing import Any

import torch

from .check_codes import check_codes
from .configuration_ctr import CTRConfig


def as_tensor(name: str, value: Any) -> torch.Tensor:
    """Make the argument `name` a tensor. It is one, a list of them, or numbers in lists or an array.

    Raises:
        ValueError: It is none of these.
    """
    try:
        if isinstance(value, (list, tuple)) and value and all(isinstance(row, torch.Tensor) for row in value):
            return torch.stack(value)
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{name}` must hold numbers, in rows of one length, but is {value!r:.200}; names of tasks go to `task`."
        ) from error


def get_task_tensors(
    config: CTRConfig,
    batch_size: int,
    device: torch.device | str,
    task_id: Any = None,
    task_code: Any = None,
    prompt_embeds: Any = None,
) -> dict[str, torch.Tensor]:
    """Get the one that is given of `task_id`, `task_code` and `prompt_embeds`, by its name, checked, for every input.

    Each may be a tensor, or what `as_tensor` makes one of.

    Args:
        config: Says what is in range.
        batch_size: Number of inputs.
        device: The codebook's, where the result is.
        task_id: `(batch,)`, or a scalar for the whole batch.
        task_code: `(batch, code_length)`, or `(code_length,)` for the whole batch.
        prompt_embeds: `(batch, prompt_length, width)`, or `(prompt_length, width)` for the whole batch.

    Raises:
        ValueError: None or several are given; a shape, a dtype or, on the CPU, a value is wrong.
    """
    num_given = sum(given is not None for given in (task_id, task_code, prompt_embeds))
    if num_given == 0:
        raise ValueError(
            "No task is given: pass `task_id`, `task_code` or `prompt_embeds` (or `task=`, a name), or set the config's "
            "`default_task`."
        )
    if num_given > 1:
        raise ValueError("Give one of `task_id`, `task_code` and `prompt_embeds`, not several.")
    if task_id is not None:
        task_id = as_tensor("task_id", task_id)
        if task_id.dim() == 0:
            task_id = task_id.expand(batch_size)
        if task_id.shape != (batch_size,):
            raise ValueError(
                f"`task_id` has shape {tuple(task_id.shape)}, but a batch of {batch_size} needs ({batch_size},)."
            )
        _check_task_ids(task_id, config.num_tasks)
        return {"task_id": task_id.to(device)}
    if task_code is not None:
        task_code = as_tensor("task_code", task_code)
        if task_code.dim() == 1:
            task_code = task_code.expand(batch_size, -1)
        if task_code.dim() != 2 or task_code.shape[0] != batch_size:
            raise ValueError(
                f"`task_code` has shape {tuple(task_code.shape)}, but a batch of {batch_size} needs "
                f"({batch_size}, {config.code_length}) or ({config.code_length},)."
            )
        check_codes(task_code, config.code_length, config.codebook_size, "`task_code`")
        return {"task_code": task_code.to(device)}
    prompt_embeds = as_tensor("prompt_embeds", prompt_embeds)
    if prompt_embeds.dim() == 2:
        prompt_embeds = prompt_embeds.expand(batch_size, -1, -1)
    width = config.prompt_dim
    if prompt_embeds.dim() != 3 or (prompt_embeds.shape[0], prompt_embeds.shape[2]) != (batch_size, width):
        raise ValueError(
            f"`prompt_embeds` has shape {tuple(prompt_embeds.shape)}, but a batch of {batch_size} needs "
            f"({batch_size}, prompt_length, {width}) or (prompt_length, {width})."
        )
    if not prompt_embeds.is_floating_point():
        raise ValueError(f"`prompt_embeds` must hold floating-point numbers, but has dtype {prompt_embeds.dtype}.")
    return {"prompt_embeds": prompt_embeds.to(device)}


def find_task(name: str, known: Sequence[str]) -> int:
    """Find where a task's name stands among those known. Raises a ValueError, with names like it, if it does not."""
    if name in known:
        return known.index(name)
    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"it has {len(known)} tasks."
    raise ValueError(f"This model has no task '{name}': {hint}")


def _check_task_ids(task_id: torch.Tensor, num_tasks: int) -> None:
    """Raise a ValueError for ids on the CPU outside `[0, num_tasks)`; never waits for an accelerator."""
    if task_id.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if task_id.is_floating_point():
        raise ValueError(f"`task_id` must hold integers, but has dtype {task_id.dtype}.")
    wrong = task_id[(task_id < 0) | (task_id >= num_tasks)]
    if wrong.numel():
        raise ValueError(
            f"`task_id` has the value {int(wrong[0])}, but there are only {num_tasks} tasks (0 to {num_tasks - 1})."
        )
