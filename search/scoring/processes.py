"""Several processes, one search: each scores its share, and all know and decide the same.

Under `accelerate launch` or `torchrun` every process runs the same code with the same model and examples. Nothing else is
asked of the caller: pairs of a prompt and an example are shared out, and scores put together again, inside
[`PromptScorer`]; traces and results are written by the main process alone.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list, gather_object, parse_flag_from_env, reduce

Value = TypeVar("Value")


def _state() -> PartialState:
    """accelerate's view of the run; the argument counts where nothing has asked for it before."""
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


def num_processes() -> int:
    """Count the processes of the run; 1 where nothing was launched as several."""
    return _state().num_processes


def is_main_process() -> bool:
    """Tell whether this process is the one that writes files and shows progress."""
    return _state().is_main_process


def own_share() -> slice:
    """Choose what of a list this process works on: every n-th entry, so that neighbors, which are alike, go to different ones."""
    state = _state()
    return slice(state.process_index, None, state.num_processes)


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Sum the tensors of all processes, in all of them. Exact where no two have numbers other than 0 in one place."""
    state = _state()
    if state.num_processes == 1:
        return values
    return reduce(values.to(state.device), "sum").to(values.device)


def broadcast_from_main(values: torch.Tensor) -> torch.Tensor:
    """Send the main process's tensor to all of them."""
    state = _state()
    if state.num_processes == 1:
        return values
    return broadcast(values.to(state.device)).to(values.device)


def join_lists(entries: list[Value]) -> list[Value]:
    """Join the lists of all processes, in all of them."""
    return gather_object(entries) if num_processes() > 1 else entries


def on_main_process(function: Callable[[], Value]) -> Value:
    """Call a function on the main process alone; what it returns or raises there, it does in all of them."""
    if num_processes() == 1:
        return function()
    outcome: list = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def require_same(value: str, what: str) -> None:
    """Raise a ValueError where the processes have different values."""
    if len(set(join_lists([value]))) > 1:
        raise ValueError(
            f"The processes of this run have different {what}; all of them must load the same model and draw the same "
            "examples."
        )
