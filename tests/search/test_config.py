import math

import pytest
from transformers import HfArgumentParser

from search import BitwiseSearch, CodeEnsemble, PopulationSearch, SearchConfig
from search.config import get_config

from .conftest import full_code_space

BAD_SETTINGS = {
    "objective": "f1",
    "search_order": "best",
    "search_epochs": 0,
    "num_starts": True,
    "prune": "yes",
    "gradient_candidates": 2.5,
    "gradient_patience": 0,
    "population_size": "24",
    "population_children": -1,
    "population_generations": None,
    "population_first_steps": -1,
    "mutation_rate": math.nan,
    "max_evaluations": 0,
    "target_loss": -0.5,
    "num_codes": math.inf,
}


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS.items())
def test_bad_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name.replace("search_order", "search order")):
        SearchConfig(**{name: value})


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1, 0, "60", True])
def test_budgets_of_seconds_that_are_none(seconds):
    with pytest.raises(ValueError, match="`max_search_seconds` must be a number of seconds greater than 0"):
        SearchConfig(max_search_seconds=seconds)


def test_the_flags_are_the_settings():
    (config,) = HfArgumentParser(SearchConfig).parse_args_into_dataclasses(
        ["--max_search_seconds", "2.5", "--search_order", "cyclic", "--no_prune"]
    )
    assert config == SearchConfig(max_search_seconds=2.5, search_order="cyclic", prune=False)


def test_overrides_replace_settings_and_leave_the_config_alone():
    config = SearchConfig(num_starts=3)
    search = BitwiseSearch(
        None, full_code_space(2, 3), config, objective=lambda *_: None, start_codes=[0, 0], search_epochs=5
    )
    assert (search.config.num_starts, search.config.search_epochs) == (3, 5)
    assert config == SearchConfig(num_starts=3)


def test_a_population_search_has_a_budget_of_its_own():
    search = lambda **kwargs: PopulationSearch(  # noqa: E731
        None, full_code_space(2, 3), objective=lambda *_: None, start_codes=[0, 0], **kwargs
    )
    assert search().config.max_evaluations == 600 and search(max_evaluations=5).config.max_evaluations == 5


def test_a_setting_that_there_is_not():
    for make in (lambda: get_config(None, {"epochs": 3}), lambda: CodeEnsemble({}, epochs=3)):
        with pytest.raises(TypeError, match="no argument or setting 'epochs'. Settings are objective, search_order"):
            make()
