"""What the searches return: plain data that saves as JSON and loads back."""

import json
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError

from .scoring.processes import is_main_process

Result = TypeVar("Result", bound="SearchResult")


class SearchResult:
    """Saving and loading, for the dataclasses below."""

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON; the file is there complete or not at all. Of several processes only the main one writes."""
        if not is_main_process():
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        text = json.dumps({"kind": type(self).__name__, **asdict(self)}, indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def load(cls: type[Result], path: str | os.PathLike) -> Result:
        """Read what `save` wrote.

        Raises:
            ValueError: The file is no such result, or damaged; the message says where.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"'{path}' is not JSON ({error}): it is damaged or no saved result.") from error
        kind = data.pop("kind", None) if isinstance(data, dict) else None
        if kind != cls.__name__:
            raise ValueError(f"'{path}' holds {f'a {kind}' if kind else 'no saved result'}, not a {cls.__name__}.")
        try:
            return _from_dict(cls, data)
        except (StrictDataclassError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"'{path}' is not a valid {cls.__name__}: {reason}") from error


def _from_dict(cls: type, data: Any) -> Any:
    """A dataclass from a dict; lists of dataclasses within are built as well."""
    if not isinstance(data, dict):
        raise ValueError(f"expected the fields of a {cls.__name__}, got {data!r}")
    names = {f.name for f in fields(cls)}
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    missing, unknown = sorted(required - set(data)), sorted(set(data) - names)
    if missing or unknown:
        raise ValueError(f"missing fields {missing}, unknown fields {unknown} of {cls.__name__}")
    hints = get_type_hints(cls)
    values = {}
    for name, value in data.items():
        item = (get_args(hints[name]) or (None,))[0]
        if isinstance(value, list) and hasattr(item, "__dataclass_fields__"):
            value = [_from_dict(item, entry) for entry in value]
        values[name] = value
    return cls(**values)


@strict
@dataclass
class Evaluation:
    """One evaluated code of a search, in the order in which they were decided upon.

    Args:
        start: Which of the search's starts it belongs to.
        step: Its step within the start; -1 for codes tried as a start.
        position: The position that was varied; None for codes tried as a start.
        code: The code.
        value: The objective's value; None where the evaluation was stopped early ("pruned").
        at_least: A lower bound of the value, for pruned codes.
        examples_left: On how many examples a pruned code was not evaluated.
        terms: The value's terms by example, in searches that prune.
    """

    start: int
    step: int
    position: int | None
    code: list[int]
    value: float | None
    at_least: float | None = None
    examples_left: int = 0
    terms: list[float] | None = None


@strict
@dataclass
class ScoredCode:
    """A code and its objective value (lower is better)."""

    code: list[int]
    loss: float


@strict
@dataclass
class BitwiseSearchResult(SearchResult):
    """Result of [`BitwiseSearch`] and [`PopulationSearch`].

    Args:
        code: The best code found.
        loss: Its value of the objective; lower is better.
        objective: Name of the objective.
        evaluations: Number of distinct codes evaluated, those tried as a start included.
        stopped: Why it ended (of the last start): "local_optimum", "patience", "epochs", "generations",
            "max_evaluations", "max_seconds" or "interrupted".
        starts: The code each start began with, with its value.
        best_of_starts: The best code each start found.
        positions: The positions that were varied, in order, for each start; that of the most promising code with
            gradients, none for a population.
        top: The best codes among those evaluated completely, best first.
        trace: Every evaluation, in order.
        pairs_pruned: Pairs of a code and an example that pruning left out.
        seed: Seed of the random walk.
        order: "random", "cyclic", "gradient" or "population".
        gradients: Number of backward passes over all examples. One takes about as long as three evaluations.
    """

    code: list[int]
    loss: float
    objective: str
    evaluations: int
    stopped: str
    starts: list[ScoredCode]
    best_of_starts: list[ScoredCode]
    positions: list[list[int]]
    top: list[ScoredCode]
    trace: list[Evaluation]
    pairs_pruned: int
    seed: int
    order: str
    gradients: int = 0


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
        task_name: That task.
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
        """The row of highest accuracy, the first of equals. Raises a ValueError where no accuracy is known."""
        if any(row.accuracy is None for row in self.table):
            raise ValueError("No accuracies are known: the examples have no answer choices.")
        return max(self.table, key=lambda row: row.accuracy)


@strict
@dataclass
class EnsembleMember:
    """A (template, code) pair of a [`CodeEnsembleResult`].

    Args:
        template: Name of the template.
        code_index: Row of the code among those given.
        task_name: The training task whose code it is.
        bias: Distance of its predicted-label shares from the prior.
        kept: Whether the filter kept it, so that it votes.
        label_shares: Share of the examples for which it predicts each label.
        pseudo_accuracy: Its agreement with the vote.
    """

    template: str
    code_index: int
    task_name: str
    bias: float
    kept: bool
    label_shares: list[float]
    pseudo_accuracy: float


@strict
@dataclass
class CodeEnsembleResult(SearchResult):
    """Result of [`CodeEnsemble`].

    Args:
        code: The winner: of the kept (template, code) pairs, the code of the one that agrees most with the vote.
        task_name: The training task whose code it is.
        template: The winner's template.
        pseudo_accuracy: The winner's agreement with the vote.
        pseudo_labels: The vote, one label per example.
        margins: Per example, votes for the label minus votes for the runner-up, as a share of all votes.
        label_shares: Share of the examples with each pseudo-label.
        num_voters: Number of kept pairs.
        one_label_share: Share of all pairs, kept or not, that predict one label on at least 95% of the examples.
        warning: What is wrong with the vote, if anything: do not trust the winner then.
        members: All pairs, templates in order, then codes.
    """

    code: list[int]
    task_name: str
    template: str
    pseudo_accuracy: float
    pseudo_labels: list[int]
    margins: list[float]
    label_shares: list[float]
    num_voters: int
    one_label_share: float
    warning: str | None
    members: list[EnsembleMember] = field(default_factory=list)


@strict
@dataclass
class HeldBackLoss:
    """The mean loss of the examples held back, after some steps."""

    step: int
    loss: float


@strict
@dataclass
class PromptTuningResult(SearchResult):
    """Record of [`tune_prompt`].

    Args:
        objective: Name of the objective.
        learning_rate: Adam's.
        losses: Mean loss of the examples seen, before each step.
        held_back: Numbers of the examples held back.
        held_back_losses: Their mean loss, each time it was looked at.
        step: The step whose prompt was kept; 0 is the start.
        stopped: Why it ended: "steps", "held_back_loss" or "interrupted".
    """

    objective: str
    learning_rate: float
    losses: list[float]
    held_back: list[int]
    held_back_losses: list[HeldBackLoss]
    step: int
    stopped: str
