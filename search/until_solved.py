"""Search until a task is solved: little where it is easy, more where it is not, by the other loss where one leads nowhere."""

from dataclasses import dataclass, replace
from typing import Any

from huggingface_hub.dataclasses import strict

from .config import SearchConfig, get_config
from .population_search import PopulationSearch, PopulationSearchResult
from .results import SearchResult
from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace
from .scoring.objectives import OBJECTIVES
from .task_code_search import first_best

# What was measured with (docs/search.md); a config that says otherwise is followed.
MAX_EVALUATIONS, TARGET_LOSS, FIRST_STEPS = 1000, 0.05, 5
# Of the loss of a guess, after half of the evaluations: what is above has got nowhere.
HOPELESS = 0.5


@strict
@dataclass
class UntilSolvedResult(SearchResult):
    """Result of [`search_until_solved`].

    Args:
        code: The code of least normalized loss, of all that were evaluated.
        loss: Its normalized loss.
        evaluations: Number of distinct codes evaluated in all rounds.
        is_solved: Whether the loss is at most the target.
        rounds: The searches, in order.
    """

    code: list[int]
    loss: float
    evaluations: int
    is_solved: bool
    rounds: list[PopulationSearchResult]


def search_until_solved(
    scorer: CodeScorer,
    code_space: CodeSpace,
    config: SearchConfig | None = None,
    *,
    seed: int = 42,
    progress: bool = True,
    **overrides: Any,
) -> UntilSolvedResult:
    """Run Population Search until the normalized loss is at most `target_loss`.

    After half of `max_evaluations` it is asked how far the search has come. Where the loss is still over half of a guess's,
    a new search spends the rest on the paper's loss, which finds some of the tasks that the normalized one misses; else
    the search goes on.

    Args:
        scorer: Scores the task's labelled examples, which have answer choices.
        code_space: Values that each position may take.
        config: Settings of the searches; where it leaves `max_evaluations`, `target_loss` or `population_first_steps` at
            their defaults, 1000, 0.05 and 5 are taken. Its objective is not asked for.
        seed: Random seed of the searches.
        progress: Whether to show bars.
        overrides: Settings to use instead of the config's, by name.

    Raises:
        ValueError: There are no answer choices, the code space does not fit, or a setting is out of range.
        TypeError: There is no such setting.
    """
    config = get_config(config, overrides)
    config = replace(
        config,
        max_evaluations=config.max_evaluations or MAX_EVALUATIONS,
        target_loss=TARGET_LOSS if config.target_loss is None else config.target_loss,
        population_first_steps=config.population_first_steps or FIRST_STEPS,
    )
    scorer.require_answers("Searching until a task is solved")
    budget, target = config.max_evaluations, config.target_loss

    def search(objective: str, target_loss: float, max_evaluations: int) -> PopulationSearchResult:
        settings = replace(config, objective=objective, target_loss=target_loss, max_evaluations=max_evaluations)
        return PopulationSearch(scorer, code_space, settings, seed=seed, progress=progress).run()

    rounds = [search("normalized_loss", target, max(1, budget // 2))]
    left = budget - rounds[0].evaluations
    if rounds[0].stopped == "max_evaluations" and left > 0:
        if rounds[0].loss > HOPELESS * _compute_loss_of_guess(scorer):
            # The start codes are known, and cost nothing again. The paper's loss is a sum, and never the lesser.
            known = len(scorer.model.task_codes().unique(dim=0))
            rounds.append(search("loss", target * scorer.num_examples, left + known))
        else:  # scores are remembered: the second goes through the first one's codes at no cost
            rounds[0] = search("normalized_loss", target, budget)
    # All were scored, so this costs nothing. The best by the paper's loss need not be the best of its round.
    codes = list(dict.fromkeys(tuple(trial.code) for each in rounds for trial in each.trace))
    losses = OBJECTIVES["normalized_loss"](scorer, codes).tolist()
    best = first_best(losses)
    return UntilSolvedResult(list(codes[best]), losses[best], len(codes), losses[best] <= target, rounds)


def _compute_loss_of_guess(scorer: CodeScorer) -> float:
    """Compute the normalized loss of one who holds all of an example's choices for equally likely."""
    prompts = scorer.prompt_scorer
    return (prompts.num_choices.double().log() * prompts.examples.weights).mean().item()
