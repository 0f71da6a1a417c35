"""What happens around training steps."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

logger = logging.get_logger(__name__)


class SaveOnSigterm(TrainerCallback):
    """Save after the current step and stop on SIGTERM, which schedulers send before they take a machine away.

    transformers' own `enable_jit_checkpoint` waits three seconds first, may save in the middle of a step, from where a
    run does not go on bit for bit, and lets each process decide for itself, so that several can wait for each other.

    Attributes:
        terminated: Whether training was stopped by the signal.
    """

    def __init__(self):
        self.terminated = False
        self._received = False
        self._previous_handler: Any = None
        self._group: dist.ProcessGroup | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self.terminated = self._received = False
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            self._previous_handler = signal.signal(signal.SIGTERM, self._receive)
        if args.world_size > 1 and self._group is None:
            # On the CPU: agreeing does not wait for the accelerator.
            self._group = dist.new_group(backend="gloo")

    def _receive(self, signal_number: int, frame: Any) -> None:
        self._received = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        received = self._received
        if self._group is not None:  # the signal reaches each process at another time, but all must stop at one step
            flag = torch.tensor(int(received))
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
            received = bool(flag)
        if received:
            logger.warning(f"SIGTERM received: saving after step {state.global_step}, then stopping.")
            self.terminated = control.should_save = control.should_training_stop = True

    def restore_handler(self) -> None:
        """Let SIGTERM do again what it did before training."""
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None


class SetEpoch(TrainerCallback):
    """Tell a sampler which epoch begins, where accelerate does not: after resuming with several processes.

    Attributes:
        sampler: One with `set_epoch`, or None.
    """

    def __init__(self):
        self.sampler: Sampler | None = None

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if self.sampler is not None:
            self.sampler.set_epoch(int(state.epoch))


class SkipSteps(TrainerCallback):
    """Skip the optimizer's step where `is_bad()`, called before each step, returns True."""

    def __init__(self, is_bad: Callable[[], bool]):
        self.is_bad = is_bad

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ):
        if self.is_bad():
            model.zero_grad()  # optimizers pass over parameters without gradients, their decay and momenta included
