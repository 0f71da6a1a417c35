"""The settings of all searches: what their constructors take, and what the flags of `run_ctr.py` are made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .scoring.objectives import OBJECTIVES

SEARCH_ORDERS = ("random", "cyclic", "gradient")
AT_LEAST_1 = (
    "search_epochs", "num_starts", "gradient_candidates", "gradient_patience", "population_size", "population_children",
    "population_generations", "max_evaluations", "num_codes",
)  # fmt: skip


@dataclass
class SearchConfig:
    """How [`BitwiseSearch`], [`PopulationSearch`] and [`CodeEnsemble`] search; each reads the settings that concern it.

    Which random walk a search takes is no setting, but its argument `seed`: a run may search with several.

    Raises:
        ValueError: A setting has the wrong type or is out of range.
    """

    objective: str | None = field(
        default=None,
        metadata={
            "help": "What Bitwise Search and Population Search minimize. The paper's is `loss`, the summed loss of the right "
            "answers. Default: `normalized_loss` where there are answer choices, else `loss`.",
            "choices": list(OBJECTIVES),
        },
    )
    search_order: str = field(
        default="random",
        metadata={
            "help": "Order in which Bitwise Search varies positions: `random` draws one at each step, as the authors do; "
            "`cyclic` takes one after the other; `gradient` (experimental) tries the single changes that the gradient of "
            "the loss promises most of.",
            "choices": list(SEARCH_ORDERS),
        },
    )
    search_epochs: int = field(
        default=20, metadata={"help": "Bitwise Search takes at most epochs x code length steps from each start."}
    )
    num_starts: int = field(
        default=1,
        metadata={"help": "Number of best training codes that Bitwise Search starts from, one after another."},
    )
    prune: bool = field(
        default=True,
        metadata={
            "help": "Bitwise Search stops evaluating a code once its loss on some of the examples shows that it cannot "
            "become the best. Changes nothing in what is found."
        },
    )
    gradient_candidates: int = field(
        default=16, metadata={"help": "Codes that a step of Bitwise Search evaluates with `search_order=gradient`."}
    )
    gradient_patience: int | None = field(
        default=None,
        metadata={
            "help": "Steps without an improvement after which a start ends with `search_order=gradient`. Default: 2 where "
            "there are several starts; a single one goes on until every code next to the best was tried."
        },
    )
    population_size: int = field(default=24, metadata={"help": "Codes that Population Search keeps."})
    population_children: int = field(
        default=24, metadata={"help": "Codes that Population Search evaluates in each generation."}
    )
    population_generations: int = field(default=100, metadata={"help": "Generations of Population Search, at most."})
    population_first_steps: int = field(
        default=0,
        metadata={
            "help": "Steps of Bitwise Search that Population Search takes from the best training code before its first "
            "generation."
        },
    )
    mutation_rate: float = field(
        default=0.5, metadata={"help": "Probability that a child in Population Search has one position changed."}
    )
    max_evaluations: int | None = field(
        default=None,
        metadata={"help": "Codes that a search evaluates, at most. Default: no limit; 600 in Population Search."},
    )
    max_search_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Seconds after which a search ends with the best code so far. Such a search cannot be repeated exactly."
        },
    )
    target_loss: float | None = field(
        default=None,
        metadata={
            "help": "A search ends after the step that brings the objective down to this: the task counts as solved. "
            "Default: no search ends so."
        },
    )
    num_codes: int = field(
        default=60,
        metadata={"help": "Codes that Code Ensemble lets vote under each template; all, where there are fewer."},
    )

    def __post_init__(self) -> None:
        choices = {"objective": (None, *OBJECTIVES), "search_order": SEARCH_ORDERS}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                known = ", ".join(repr(choice) for choice in allowed if choice is not None)
                raise ValueError(f"There is no {name.replace('_', ' ')} {value!r}: choose one of {known}.")
        for name in AT_LEAST_1:
            value = getattr(self, name)
            optional = value is None and _default_of(name) is None
            if not optional and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"`{name}` must be at least 1, a whole number, but is {value!r}.")
        steps = self.population_first_steps
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
            raise ValueError(f"`population_first_steps` must be at least 0, a whole number, but is {steps!r}.")
        if not isinstance(self.prune, bool):
            raise ValueError(f"`prune` must be true or false, but is {self.prune!r}.")
        if not _is_number(self.mutation_rate) or not 0 <= self.mutation_rate <= 1:
            raise ValueError(f"`mutation_rate` must be a probability, from 0 to 1, but is {self.mutation_rate!r}.")
        target = self.target_loss
        if target is not None and (not _is_number(target) or not 0 <= target < math.inf):
            raise ValueError(f"`target_loss` must be a number of at least 0, but is {target!r}.")
        seconds = self.max_search_seconds
        if seconds is not None and (not _is_number(seconds) or not 0 < seconds < math.inf):
            raise ValueError(f"`max_search_seconds` must be a number of seconds greater than 0, but is {seconds!r}.")


def get_config(config: SearchConfig | None, overrides: Mapping[str, Any]) -> SearchConfig:
    """Get the config, or the default one, with some settings replaced.

    Raises:
        TypeError: There is no such setting.
        ValueError: A setting is out of range.
    """
    check_setting_names(overrides, SearchConfig, "A search")
    return replace(config or SearchConfig(), **overrides)


def check_setting_names(overrides: Mapping[str, Any], config_class: type[SearchConfig], owner: str) -> None:
    """Raise a TypeError, which begins with `owner`, where a name is not that of a field of `config_class`."""
    names = [f.name for f in fields(config_class)]
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise TypeError(f"{owner} has no argument or setting '{unknown[0]}'. Settings are {', '.join(names)}.")


def _default_of(name: str) -> object:
    return next(f.default for f in fields(SearchConfig) if f.name == name)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
