"""The settings of a fit: those of the searches, and what is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from search import SearchConfig
from search.config import check_setting_names

# Names, and what they are called in reports.
METHODS = {
    "code_ensemble": "Code Ensemble (no labels)",
    "training_code": "training code by loss",
    "training_code_by_accuracy": "training code by accuracy",
    "training_code_calibrated": "training code by calibrated loss",
    "bitwise_search": "Bitwise Search",
    "population_search": "Population Search",
    "until_solved": "search until solved",
    "prompt_tuning": "Bitwise Search, then tuned",
}
NEED_CHOICES = ("code_ensemble", "training_code_by_accuracy", "training_code_calibrated", "until_solved")


@dataclass
class FitConfig(SearchConfig):
    """How `TaskSolver.fit` learns a task; the settings of [`search.SearchConfig`] are settings of it as well.

    Raises:
        ValueError: A setting has the wrong type or is out of range.
    """

    method: str = field(
        default="auto",
        metadata={
            "help": "Way to find the task's prompt. `auto` takes the one that does best on held-out rows, of those that the "
            "examples can pay for.",
            "choices": ["auto", *METHODS],
        },
    )
    folds: int = field(
        default=4,
        metadata={
            "help": "Folds for the estimate of the accuracy on new rows, each of which takes the searches anew; 0 for none."
        },
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "Fit a temperature and a prior to held-out rows, so that probabilities are what they say; two answers "
            "may turn out to be exchanged."
        },
    )
    tuning_steps: int = field(default=100, metadata={"help": "Gradient steps of prompt tuning."})
    max_source_length: int = field(default=384, metadata={"help": "Tokens of an input, at most."})
    max_target_length: int = field(default=32, metadata={"help": "Tokens of an answer or target, at most."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method != "auto" and self.method not in METHODS:
            known = ", ".join(repr(name) for name in ("auto", *METHODS))
            raise ValueError(f"There is no method {self.method!r}: choose one of {known}.")
        for name, least in (("folds", 0), ("tuning_steps", 1), ("max_source_length", 1), ("max_target_length", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` must be at least {least}, a whole number, but is {value!r}.")
        if self.method == "training_code_calibrated" and not self.calibrate:
            raise ValueError("The method 'training_code_calibrated' needs `calibrate=True`.")
        if self.folds == 1:
            raise ValueError("`folds` must be 0, for no estimate, or at least 2, but is 1.")
        if not isinstance(self.calibrate, bool):
            raise ValueError(f"`calibrate` must be true or false, but is {self.calibrate!r}.")

    def check_examples(self, labeled: bool, has_choices: bool) -> None:
        """Raise a ValueError where the method is none for such examples.

        Args:
            labeled: Whether the right answers are known.
            has_choices: Whether there are answers to choose between.
        """
        if not labeled and self.method not in ("auto", "code_ensemble"):
            raise ValueError(f"The method {self.method!r} needs `labels`; without them there is 'code_ensemble'.")
        if not has_choices and self.method in NEED_CHOICES:
            raise ValueError(
                f"The method {self.method!r} needs answers to choose between, which a free-form task does not have."
            )
        if self.calibrate and not (labeled and has_choices):
            raise ValueError("`calibrate` needs examples with labels: there is nothing to fit probabilities to.")
        if self.method == "auto" and labeled and not self.folds:
            raise ValueError("The method 'auto' compares methods by the estimate: give `folds`, or name a method.")


def get_fit_config(config: SearchConfig | None, overrides: Mapping[str, Any]) -> FitConfig:
    """The config, or the default one, with some settings replaced.

    Raises:
        TypeError: There is no such setting.
        ValueError: A setting is out of range.
    """
    check_setting_names(overrides, FitConfig, "`fit`")
    given = {} if config is None else {f.name: getattr(config, f.name) for f in fields(config)}
    return FitConfig(**(given | dict(overrides)))
