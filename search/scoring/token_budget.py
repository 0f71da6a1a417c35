"""How many tokens go into a batch: what the user says, or what turns out fastest on the first batches."""

import time

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

# Encoder tokens per batch to begin with, and the most that is tried. The defaults keep a CPU's caches or an accelerator
# busy; small models on large accelerators gain from more.
FIRST = {"cpu": 2048}
LARGEST = {"cpu": 16384}
FIRST_ON_ACCELERATOR, LARGEST_ON_ACCELERATOR = 65536, 1048576
# A batch is measured if it holds this share of the budget; the fastest of so many counts; and a budget twice as large
# must be faster per token by this share, or the smaller one stays.
FULL, BATCHES, WORTHWHILE = 0.75, 3, 0.05


class TokenBudget:
    """Encoder tokens of a batch. Scores do not depend on it, up to rounding.

    Args:
        device: Device that computes.
        tokens: A fixed budget, which only a lack of memory makes smaller. None: begin with the device's default, and
            double it as long as batches of twice the size take less time per token.
        limit: Largest budget, where none is given.

    Attributes:
        tokens (`int`): The budget, by now.
        first (`int`): What it was in the beginning: the same in all processes, whatever their memory and speed.
    """

    def __init__(self, device: torch.device, tokens: int | None = None, limit: int | None = None):
        if tokens is not None and tokens < 1:
            raise ValueError(f"The token budget must be at least 1, but is {tokens}.")
        default = FIRST.get(device.type, FIRST_ON_ACCELERATOR)
        largest = LARGEST.get(device.type, LARGEST_ON_ACCELERATOR)
        self._largest = largest if limit is None else min(largest, limit)
        self.tokens = self.first = min(default, self._largest) if tokens is None else tokens
        self._device = device
        self._settled = tokens is not None
        self._times: list[float] = []
        self._before: float | None = None  # seconds per token with half the budget

    def settle(self) -> bool:
        """Keep batches at the first budget from now on; returns whether they could have been others until now."""
        measured, self._settled = not self._settled, True
        if measured:
            self.tokens = self.first
        return measured

    def clock(self) -> float:
        """Get the seconds once the device has done what it was asked to; 0 where nothing is measured any more."""
        if self._settled:
            return 0.0
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()

    def note(self, tokens: int, seconds: float) -> None:
        """Note how long a batch took; perhaps the next ones should be larger."""
        if self._settled or tokens < FULL * self.tokens:
            return
        self._times.append(seconds / tokens)
        if len(self._times) < BATCHES:
            return
        fastest, self._times = min(self._times), []
        if self._before is not None and fastest > (1 - WORTHWHILE) * self._before:
            self.tokens //= 2
            self._settled = True
        elif 2 * self.tokens > self._largest:
            self._settled = True
        else:
            self._before = fastest
            self.tokens *= 2

    def out_of_memory(self, tokens: int) -> None:
        """Note that a batch of so many tokens was too large."""
        self.tokens = max(1, min(self.tokens, tokens) // 2)
        self._settled = True
        logger.warning(f"Out of memory: going on with a token budget of {self.tokens}.")
