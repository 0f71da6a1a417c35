"""One held-out data set with one few-shot seed: what every method is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from evaluation.examples import TemplateExamples
from evaluation.judge import Judge
from evaluation.prompt_choice import ChosenPrompt, choose_prompt_by_loss
from evaluation.settings import HeldOutSettings, TuningSettings
from modeling_ctr import CTRPreTrainedModel
from modeling_ctr.model_modes import autocast_around
from search import SearchConfig


@dataclass(frozen=True)
class FoundCode:
    """A method's code for a held-out task, and what it took to find it; the fields are those of [`Score`]."""

    template: str
    method: str
    code: list[int]
    labelled: int = 0
    unlabelled: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    few_shot_loss: float | None = None
    guessing_loss: float | None = None


@dataclass(frozen=True, eq=False)
class DatasetRun:
    """One held-out data set with one few-shot seed.

    Every method is a function `(run) -> list[Score]`; it gives nothing where it does not fit the model or was not asked
    for.

    Attributes:
        model: A CTR model, or a plain language model, which is then the T0 baseline.
        model_digest: Digest of its weights.
        examples: The drawn examples, under each template.
        settings: What is done.
        search: How codes are searched.
        tuning: Which rivals tune.
        seed: Random seed of the draw and the searches.
        folder: Where results are kept.
        judges: What scores, by template; none where nothing is judged.
        found: Codes that the searches found.
    """

    model: PreTrainedModel
    model_digest: str
    examples: Sequence[TemplateExamples]
    settings: HeldOutSettings
    search: SearchConfig
    tuning: TuningSettings
    seed: int
    folder: Path
    judges: Mapping[str, Judge] = field(default_factory=dict)
    found: Sequence[FoundCode] = ()

    @property
    def is_ctr(self) -> bool:
        """Whether the model has task codes."""
        return isinstance(self.model, CTRPreTrainedModel)

    @property
    def inputs(self) -> dict[str, Any]:
        """Digests of all that results come from, beside the settings; JSON values.

        Results under a `torch.autocast` come from its precision, too.
        """
        digests = {each.task.template.name: each.digests for each in self.examples}
        inputs = {"model": self.model_digest, "examples": digests}
        autocast = autocast_around(self.model.device)
        return inputs if autocast is None else {**inputs, "autocast": str(autocast)}

    @cached_property
    def prompt_by_loss(self) -> ChosenPrompt:
        """The prompt with the least loss on the labeled examples, of a plain language model."""
        return choose_prompt_by_loss(self.model, self.examples)
