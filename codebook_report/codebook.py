"""The codes of a model's tasks, and the model they are read from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeling_ctr import CTRPreTrainedModel, load_model

ADDED = "*"


@dataclass(frozen=True)
class Codebook:
    """The codes of a model's tasks.

    Attributes:
        title: What the page is called after, e.g. the checkpoint's name.
        names: Training tasks, then tasks that were added; not tuned ones, which have no code.
        codes: `(num_tasks, code_length)`, in that order.
        num_trained: How many of them are training tasks.
        codebook_size: Values that each integer could take.
    """

    title: str
    names: list[str]
    codes: np.ndarray
    num_trained: int
    codebook_size: int

    @classmethod
    def from_model(cls, model: CTRPreTrainedModel, title: str) -> "Codebook":
        config = model.config
        codes = config.codes_by_name(model.task_codes().tolist())
        return cls(title, list(codes), np.array(list(codes.values())), config.num_tasks, config.codebook_size)

    @property
    def labels(self) -> list[str]:
        """The names, with a mark behind the added ones."""
        return [*self.names[: self.num_trained], *(f"{name} {ADDED}" for name in self.names[self.num_trained :])]

    @property
    def trained(self) -> tuple[np.ndarray, list[str]]:
        """Codes and names of the training tasks."""
        return self.codes[: self.num_trained], self.names[: self.num_trained]


def load_checkpoint(checkpoint: str) -> CTRPreTrainedModel:
    """Load a CTR model from a directory or from the Hub, in evaluation mode.

    Raises:
        ValueError: There is none; the message is one sentence.
    """
    if Path(checkpoint).exists() and not (Path(checkpoint) / "config.json").is_file():
        raise ValueError(f"'{checkpoint}' is not a checkpoint: it has no config.json; train one or name another.")
    try:
        return load_model(checkpoint)
    except OSError as error:
        if Path(checkpoint).exists():
            raise ValueError(str(error)) from error
        raise ValueError(
            f"There is no checkpoint '{checkpoint}': no such directory, and the Hub does not have it or cannot be "
            "reached; train one or name another."
        ) from error
