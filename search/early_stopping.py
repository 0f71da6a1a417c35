"""Early stopping: keep what did best on examples held back, and end where nothing better comes."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict

from .scoring.objectives import is_better


@strict
@dataclass
class HeldBackLoss:
    """The mean loss of the examples held back, after some steps."""

    step: int
    loss: float


class EarlyStopping:
    """Notes the losses of examples held back.

    Args:
        patience: Number of looks in a row without a better one after which to stop.

    Attributes:
        looks: What was noted.
        best: The look of least loss, the first of equals; None before the first.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.looks: list[HeldBackLoss] = []
        self.best: HeldBackLoss | None = None

    def note(self, step: int, loss: float) -> bool:
        """Note a loss; returns whether it is the least so far, by more than rounding."""
        self.looks.append(HeldBackLoss(step, loss))
        if self.best is None or is_better(loss, self.best.loss):
            self.best = self.looks[-1]
        return self.best is self.looks[-1]

    @property
    def should_stop(self) -> bool:
        """Tell whether the last `patience` looks were no better than an earlier one."""
        return self.best is not None and sum(look.step > self.best.step for look in self.looks) >= self.patience
