"""The training task whose code does best on a few labelled examples (the original's "discrete search")."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict

from .results import SearchResult
from .scoring.code_scorer import CodeScorer
from .scoring.codes import check_codes
from .scoring.objectives import OBJECTIVES, Objective, UserObjective, get_objective_name, is_better, resolve_objective


@strict
@dataclass
class TaskCodeRow:
    """How one training task's code does on the examples; values that were not asked for or not defined are None."""

    task_name: str
    code: list[int]
    loss: float
    gold_loss: float | None
    normalized_loss: float | None
    accuracy: float | None


@strict
@dataclass
class TaskCodeSearchResult(SearchResult):
    """Result of [`best_training_code`].

    Args:
        code: The training task's code with the least loss, the first of equals.
        task_name: The task whose code won.
        loss: Its value of the objective; lower is better.
        objective: Name of the objective.
        table: All training tasks, in order of their ids.
    """

    code: list[int]
    task_name: str
    loss: float
    objective: str
    table: list[TaskCodeRow]

    def best_by_accuracy(self) -> TaskCodeRow:
        """Get the row of highest accuracy, the first of equals. Raises a ValueError where no accuracy is known."""
        if any(row.accuracy is None for row in self.table):
            raise ValueError("No accuracies are known: the examples have no answer choices.")
        return max(self.table, key=lambda row: row.accuracy)


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
        objective: What is minimized, see [`resolve_objective`].

    Returns:
        The winner and the table of all codes. Beside the objective the table holds what follows from the same pass of
        the model: accuracy and normalized loss where there are answer choices, and the gold loss.
    """
    codes, task_names = training_codes(scorer, codes, task_names)
    objective = resolve_objective(objective, scorer)
    losses = objective(scorer, codes).tolist()
    none = [None] * len(codes)
    labelled = scorer.has_choices and bool((scorer.prompt_scorer.examples.answers >= 0).all())
    normalized = OBJECTIVES["normalized_loss"](scorer, codes).tolist() if labelled else none
    accuracies = scorer.accuracies(codes).tolist() if labelled else none
    # Without choices it takes a pass of its own, except where it is the objective.
    wants_gold = scorer.prompt_scorer.examples.gold_is_choice or objective is OBJECTIVES["loss"]
    gold = scorer.gold_losses(codes).tolist() if wants_gold else none

    best = first_best(losses)
    rows = zip(task_names, codes.tolist(), losses, gold, normalized, accuracies, strict=True)
    return TaskCodeSearchResult(
        code=codes[best].tolist(),
        task_name=task_names[best],
        loss=losses[best],
        objective=get_objective_name(objective),
        table=[TaskCodeRow(*row) for row in rows],
    )


def training_codes(
    scorer: CodeScorer, codes: torch.LongTensor | None, task_names: Sequence[str] | None
) -> tuple[torch.LongTensor, list[str]]:
    """Get codes `(num_codes, code_length)` and their names, those of the model's training tasks where not given.

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
    """Find the index of the first value that none of the others beats by more than rounding."""
    best = 0
    for index, loss in enumerate(losses):
        if is_better(loss, losses[best]):
            best = index
    return best
