"""The parts of the loss since the last log: their means, and whether training has gone wrong."""

import torch
from accelerate import Accelerator

Losses = dict[str, torch.Tensor]


class LossHistory:
    """Keep the parts of each micro-batch's loss until they are logged; nothing is read before, as that waits for the
    device.

    Args:
        max_vq_loss: Value from which on the vq loss counts as run away.
    """

    def __init__(self, max_vq_loss: float):
        self.max_vq_loss = max_vq_loss
        self._entries: list[tuple[int, Losses, torch.Tensor]] = []

    def add(self, step: int, losses: Losses, task_ids: torch.Tensor) -> None:
        """Add a micro-batch: its optimizer step, the scalar parts of its loss by name, its task ids `(batch,)`."""
        self._entries.append((step, {name: loss.detach() for name, loss in losses.items()}, task_ids))

    def clear(self) -> None:
        """Forget what has been logged."""
        self._entries = []

    def compute_means(self, accelerator: Accelerator) -> dict[str, float]:
        """Compute the means of the parts over micro-batches and processes; empty where there were none."""
        means = {}
        if self._entries:  # none in transformers' own evaluation, with `predict_with_generate`
            for name in self._entries[0][1]:
                mean = torch.stack([losses[name] for _, losses, _ in self._entries]).mean()
                means[name] = accelerator.reduce(mean, reduction="mean").item()
        return means

    def is_step_bad(self, step: int) -> bool:
        """Tell whether a loss of the step is not finite, or the vq loss has run away, in this process."""
        return any(self._is_bad(losses) for at, losses, _ in self._entries if at == step)

    def describe_first_bad(self, task_names: list[str]) -> str | None:
        """Describe the first bad loss, with its step and its tasks; None where all are well."""
        for step, losses, task_ids in self._entries:
            if self._is_bad(losses):
                tasks = ", ".join(sorted({task_names[i] for i in task_ids.tolist()}))
                values = " and ".join(f"{name} is {loss.item():.4g}" for name, loss in losses.items())
                limit = f"`max_vq_loss` is {self.max_vq_loss:.4g}"
                return f"Step {step}: {values} ({limit}), in a batch of the tasks {tasks}"
        return None

    def _is_bad(self, losses: Losses) -> bool:
        finite = all(torch.isfinite(loss) for loss in losses.values())
        return not finite or bool(losses.get("vq_loss", 0) > self.max_vq_loss)
