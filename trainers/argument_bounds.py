"""Bounds of training arguments, which `TrainingArguments` takes without a look: a loss of nan after an hour, no step at all."""

import inspect
import json
import math
from typing import Any

from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.trainer_utils import SchedulerType

# Least and, where there is one, greatest value of each argument; None is always allowed.
WHOLE_NUMBERS = {
    "per_device_train_batch_size": (1, None),
    "per_device_eval_batch_size": (1, None),
    "per_device_train_tokens": (1, None),
    "gradient_accumulation_steps": (1, None),
    "save_total_limit": (1, None),
    "dataloader_num_workers": (0, None),
    "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1),
}
NUMBERS = {
    "learning_rate": (0, None),
    "query_learning_rate": (0, None),
    "weight_decay": (0, None),
    "max_grad_norm": (0, None),
    "adam_beta1": (0, 1),
    "adam_beta2": (0, 1),
    "warmup_steps": (0, None),
}
SAMPLING_STRATEGIES = ("group_by_length", "random", "sequential", "batch_rebalance")
INTERVALS = {"logging": "logging_steps", "save": "save_steps", "eval": "eval_steps"}


def check_as_given(args: TrainingArguments) -> None:
    """Check what transformers would read wrong (a mapping in JSON) or as something else (no steps between evaluations).

    Raises:
        ValueError: A mapping is no JSON or no mapping, or an interval is no interval.
    """
    for kind, name in INTERVALS.items():
        steps = getattr(args, name)
        if _text(getattr(args, f"{kind}_strategy")) == "steps" and steps is not None and not steps > 0:
            raise ValueError(
                f"`{name}` must be greater than 0, but is {steps}; `--{kind}_strategy no` switches it off."
            )
    for name in args._VALID_DICT_FIELDS:
        value = getattr(args, name)
        if isinstance(value, str) and value.startswith("{"):
            try:
                json.loads(value)
            except json.JSONDecodeError as error:
                raise ValueError(f"`{name}` is no JSON: {error}.") from error
    if isinstance(value := args.lr_scheduler_kwargs, (list, str)) and not str(value).startswith("{"):
        raise ValueError(f'`lr_scheduler_kwargs` must be a mapping such as {{"num_cycles": 2}}, but is {value!r}.')


def check_bounds(args: TrainingArguments) -> None:
    """Check numbers, and what only the Trainer would refuse, when everything is loaded.

    Raises:
        ValueError: A value is out of bounds or names nothing that there is.
    """
    for bounds, what in ((WHOLE_NUMBERS, "a whole number"), (NUMBERS, "a number")):
        for name, (least, most) in bounds.items():
            value = getattr(args, name, None)
            if value is None:
                continue
            if not (math.isfinite(value) and value >= least and (most is None or value <= most)):
                limits = f"of at least {least}" if most is None else f"from {least} to {most}"
                raise ValueError(f"`{name}` must be {what} {limits}, but is {value}.")
    if args.max_steps != -1 and args.max_steps < 1:
        raise ValueError(
            f"`max_steps` must be at least 1, or -1 for `num_train_epochs` to count, but is {args.max_steps}."
        )
    if not (math.isfinite(args.num_train_epochs) and args.num_train_epochs > 0):
        raise ValueError(f"`num_train_epochs` must be a number greater than 0, but is {args.num_train_epochs}.")
    if not getattr(args, "max_vq_loss", 1) > 0:
        raise ValueError(f"`max_vq_loss` must be a number greater than 0, but is {args.max_vq_loss}.")
    if args.train_sampling_strategy not in SAMPLING_STRATEGIES:
        known = ", ".join(SAMPLING_STRATEGIES)
        raise ValueError(f"`train_sampling_strategy` is '{args.train_sampling_strategy}'; choose from {known}.")
    for tracker in args.report_to:
        if tracker not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ValueError(f"`report_to` is '{tracker}'; choose from none, all, {known}.")
    _check_scheduler(args)


def _check_scheduler(args: TrainingArguments) -> None:
    taken = _scheduler_arguments(_text(args.lr_scheduler_type))
    if taken is not None and (unknown := sorted(set(args.lr_scheduler_kwargs or {}) - taken)):
        known = ", ".join(sorted(taken)) or "nothing"
        raise ValueError(
            f"`lr_scheduler_kwargs` has '{unknown[0]}', but the scheduler '{_text(args.lr_scheduler_type)}' takes {known}."
        )


def _scheduler_arguments(name: str) -> set[str] | None:
    """What a scheduler takes besides what the Trainer gives it; None where it hands on what it gets."""
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    return {parameter.name for parameter in parameters} - given


def _text(value: Any) -> str:
    return getattr(value, "value", value)
