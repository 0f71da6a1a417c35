"""What is done with held-out tasks. The fields are what the flags of `run_ctr.py` are made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)

PROMPT_TUNING, CODE_TUNING, LORA, FULL_TUNING = "prompt_tuning", "code_tuning", "lora", "full_tuning"
# By the name of the flag behind `--do_`; the values are columns of the report.
TUNING_METHODS = {
    PROMPT_TUNING: "prompt tuning",
    CODE_TUNING: "prompt tuning from the training code",
    LORA: "LoRA",
    FULL_TUNING: "full tuning",
}
# Those whose result is a prompt, which a run's folder keeps.
KEPT_TUNING = frozenset({PROMPT_TUNING, CODE_TUNING})
PROTOCOLS = ("clean", "original")


@dataclass
class HeldOutSettings:
    """Which methods are run on held-out tasks, on which examples, and how they are judged.

    Raises:
        ValueError: A setting is out of range.
    """

    do_code_ensemble: bool = field(default=False, metadata={"help": "Find codes without labels."})
    do_bitwise_search: bool = field(default=False, metadata={"help": "Find codes with a few labels."})
    do_population_search: bool = field(
        default=False, metadata={"help": "Find codes with a few labels by crossing good ones."}
    )
    do_prompt_selection: bool = field(
        default=False,
        metadata={
            "help": "With `method=t0`: choose a prompt by few labels (least loss), and by a vote without labels (ZPS)."
        },
    )
    num_shots: int = field(default=32, metadata={"help": "Labeled examples of a held-out task."})
    num_unlabelled: int = field(default=64, metadata={"help": "Unlabeled examples that Code Ensemble votes on."})
    few_shot_seeds: list[int] = field(
        default_factory=lambda: [42],
        metadata={"help": "Random seeds of the few-shot draw and of the searches; all is run once for each."},
    )
    templates_per_dataset: int | None = field(
        default=None,
        metadata={
            "help": "Number of templates to keep of those named for each held-out data set: the ones under which the raw "
            "language model's answers to unlabeled inputs vary most. Looks at no label."
        },
    )
    protocol: str = field(
        default="clean",
        metadata={
            "help": "`original` evaluates as the authors did: on the first 1,000 rows, WSC's without repeated inputs, "
            "with few-shot examples rounded up to equally many of each class.",
            "choices": list(PROTOCOLS),
        },
    )
    length_normalization: bool = field(
        default=False, metadata={"help": "Rank answer choices by log-probability per token, not by the sum."}
    )
    batch_calibration: bool = field(
        default=False, metadata={"help": "Report the found codes' answers after batch calibration as well."}
    )
    mean_training_code: bool = field(
        default=False,
        metadata={
            "help": "Report the mean over all training tasks' codes as well: what a code picked at random is worth. Takes "
            "as many passes over the evaluation rows as there are training tasks."
        },
    )

    def __post_init__(self) -> None:
        require_at_least_1(self, ["templates_per_dataset"])
        require_at_least_1(self, ["num_shots"] if self.needs_labels else [])
        require_at_least_1(self, ["num_unlabelled"] if self.needs_unlabelled else [])
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"There is no protocol {self.protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
        seeds = list(self.few_shot_seeds)
        if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
            raise ValueError(
                f"`--few_shot_seeds` must be one or more different numbers from 0 to 2**32 - 1, but is {seeds}."
            )

    @property
    def searches_with_labels(self) -> bool:
        """Whether codes are searched with labeled examples."""
        return self.do_bitwise_search or self.do_population_search

    @property
    def finds_codes(self) -> bool:
        """Whether codes are searched at all."""
        return self.searches_with_labels or self.do_code_ensemble

    @property
    def needs_labels(self) -> bool:
        """Whether any of these methods looks at labeled examples."""
        return self.searches_with_labels or self.do_prompt_selection

    @property
    def needs_unlabelled(self) -> bool:
        """Whether any of these methods looks at unlabeled examples."""
        return self.do_code_ensemble or self.do_prompt_selection or self.templates_per_dataset is not None


@dataclass
class TuningSettings:
    """Which rivals tune on the few labeled examples, and how long.

    Raises:
        ValueError: A setting is out of range.
    """

    do_prompt_tuning: bool = field(default=False, metadata={"help": "Tune a prompt that starts from words."})
    do_code_tuning: bool = field(
        default=False,
        metadata={"help": "Tune a prompt that starts from the best training code; keep it in the model."},
    )
    do_lora: bool = field(default=False, metadata={"help": "Tune the language model by LoRA."})
    do_full_tuning: bool = field(default=False, metadata={"help": "Tune the whole language model."})
    tuning_steps: int = field(default=100, metadata={"help": "Gradient steps of each of these, at most."})
    tuning: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Names of these, as they were given before there were flags for each; goes with the next release.",
            "choices": list(TUNING_METHODS),
        },
    )

    def __post_init__(self) -> None:
        require_at_least_1(self, ["tuning_steps"])
        if unknown := sorted(set(self.tuning) - set(TUNING_METHODS)):
            raise ValueError(f"There is no tuning {unknown[0]!r}: choose from {', '.join(TUNING_METHODS)}.")
        if self.tuning:
            flags = " ".join(f"--do_{method}" for method in self.tuning)
            logger.warning(f"`--tuning` goes with the next release: give {flags} instead.")
        for method in self.tuning:
            setattr(self, f"do_{method}", True)

    @property
    def tuning_methods(self) -> tuple[str, ...]:
        """Keys of `TUNING_METHODS` that are asked for."""
        return tuple(method for method in TUNING_METHODS if getattr(self, f"do_{method}"))


def get_settings(kind: type, settings: Any) -> dict[str, Any]:
    """Return the values of a settings class's fields, of an object that may have others as well."""
    return {each.name: getattr(settings, each.name) for each in fields(kind)}


def require_at_least_1(settings: Any, names: Iterable[str]) -> None:
    """Raise a ValueError where one of these settings is less than 1; None means a default."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"`--{name}` must be at least 1, but is {value}.")
