"""The training task whose code does best on a few labelled examples (the original's "discrete search")."""

from collections.abc import Sequence

import torch

from .results import TaskCodeRow, TaskCodeSearchResult
from .scoring.code_scorer import CodeScorer
from .scoring.codes import check_codes
from .scoring.objectives import OBJECTIVES, Objective, UserObjective, is_better, objective_name, resolve_objective


def best_training_code(
    scorer: CodeScorer,
    codes: torch.LongTensor | None = None,
    task_names: Sequence[str] | None = None,
    objective: str | Objective | UserObjective | None = None,
) -> TaskCodeSearchResult:
    """Evaluate every training task's code; the first with the least objective wins.

    Args:
        scorer: Scores the task's labelled examples.
        codes: `(num_codes, code_length)`. Default: the codes of the model's training tasks.
        task_names: A name per code. Default: the model's training tasks.
        objective: See [`resolve_objective`].

    Returns:
        The winner and the table of all codes. Beside the objective the table holds what follows from the same pass of
        the model: accuracy and normalized loss where there are answer choices, and the gold loss.
    """
    codes, task_names = training_codes(scorer, codes, task_names)
    objective = resolve_objective(objective, scorer)
    losses = objective(scorer, codes).tolist()
    none = [None] * len(codes)
    labelled = scorer.has_choices and bool((scorer.prompt_scorer.answers >= 0).all())
    normalized = OBJECTIVES["normalized_loss"](scorer, codes).tolist() if labelled else none
    accuracies = scorer.accuracies(codes).tolist() if labelled else none
    # Without choices it takes a pass of its own, except where it is the objective.
    wants_gold = scorer.prompt_scorer.gold_is_choice or objective is OBJECTIVES["loss"]
    gold = scorer.gold_losses(codes).tolist() if wants_gold else none

    best = first_best(losses)
    rows = zip(task_names, codes.tolist(), losses, gold, normalized, accuracies, strict=True)
    return TaskCodeSearchResult(
        code=codes[best].tolist(),
        task_name=task_names[best],
        loss=losses[best],
        objective=objective_name(objective),
        table=[TaskCodeRow(*row) for row in rows],
    )


def training_codes(
    scorer: CodeScorer, codes: torch.LongTensor | None, task_names: Sequence[str] | None
) -> tuple[torch.LongTensor, list[str]]:
    """Codes `(num_codes, code_length)` and their names, those of the model's training tasks where not given.

    Raises:
        ValueError: There is not one name per code.
    """
    if codes is None:
        codes, task_names = scorer.model.task_codes(), scorer.model.config.task_names
    codes = check_codes(codes)
    names = list(task_names) if task_names is not None else [f"code_{i}" for i in range(len(codes))]
    if len(names) != len(codes):
        raise ValueError(f"There are {len(codes)} codes, but {len(names)} task names.")
    return codes, names


def first_best(losses: Sequence[float]) -> int:
    """Index of the first value that none of the others beats by more than rounding."""
    best = 0
    for index, loss in enumerate(losses):
        if is_better(loss, losses[best]):
            best = index
    return best
