"""The record of what one method reached on one held-out task, and the file that keeps such records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safe_files import write_json


@dataclass(frozen=True)
class Score:
    """What one method reached on one held-out task.

    Attributes:
        task: Name of the held-out data set.
        template: Name of the template, of several perhaps, that asks it.
        method: Name of the method, a column of the tables.
        num_examples: Evaluation rows.
        seed: Random seed of the few-shot draw and the search.
        accuracy: Rank classification on the evaluation rows, 0 to 1; None for tasks without answer choices.
        macro_f1: The same, as F1 averaged over classes.
        predicted_shares: Share of each answer choice among the predictions; nearly 1 for one of them means that the
            method gives one answer to everything.
        generation: For tasks without answer choices: `exact_match`, `f1`, `rouge1`, `rouge2` and `rougeL`, 0 to 1.
        labelled: Labeled examples of the task that the method saw.
        unlabelled: Unlabeled examples that it saw.
        evaluations: Codes, prompts or gradient steps that it tried on those examples to find its answer.
        seconds: Time that it took to find it.
        code: Task code that it ended with, if any.
        beside: For each baseline on the same rows: how many rows only the method gets right, and how many only the
            baseline does.
        few_shot_loss: Mean cross-entropy of the right answer among the answers on the labeled examples, where a code
            was searched with these.
        guessing_loss: What the same would be if all answers were equally likely.
    """

    task: str
    template: str
    method: str
    num_examples: int
    seed: int
    accuracy: float | None = None
    macro_f1: float | None = None
    predicted_shares: list[float] | None = None
    generation: dict[str, float] | None = None
    labelled: int = 0
    unlabelled: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    code: list[int] | None = None
    beside: dict[str, list[float]] | None = None
    few_shot_loss: float | None = None
    guessing_loss: float | None = None

    @property
    def main_value(self) -> float:
        """Accuracy, or ROUGE-L where texts are generated; 0 to 1."""
        return self.generation["rougeL"] if self.generation else self.accuracy


def save_scores(scores: Sequence[Score], path: Path, about: dict[str, Any]) -> None:
    """Write `report.json`.

    Args:
        scores: The records.
        path: File to write.
        about: What one must know of the run; JSON values.
    """
    write_json(path, {"about": about, "scores": [asdict(score) for score in scores]})


def load_scores(path: Path) -> tuple[list[Score], dict[str, Any]]:
    """Read a `report.json`.

    Returns:
        The records, and what one must know of the run.

    Raises:
        ValueError: The file is no such report, or damaged; the message names it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        scores = [Score(**score) for score in content["scores"]]
        for score in scores:
            _require_types(score)
        return scores, dict(content["about"])
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a report that run_ctr.py wrote ({reason}).") from error


def get_methods(scores: Iterable[Score]) -> list[str]:
    """Return the methods, in order of first appearance."""
    return list(dict.fromkeys(score.method for score in scores))


def get_tasks(scores: Iterable[Score]) -> list[str]:
    """Return the tasks, in order of first appearance."""
    return list(dict.fromkeys(score.task for score in scores))


def _require_types(score: Score) -> None:
    """Raise a TypeError where a record that was read could not have been written."""
    for name in ("task", "template", "method"):
        if not isinstance(getattr(score, name), str):
            raise TypeError(f"`{name}` is {getattr(score, name)!r}")
    numbers = [score.num_examples, score.seed, score.labelled, score.unlabelled, score.evaluations, score.seconds]
    if score.generation is not None:
        numbers += [score.generation[name] for name in ("exact_match", "f1", "rouge1", "rouge2", "rougeL")]
    else:
        numbers += [score.accuracy, score.macro_f1, *score.predicted_shares]
    for pair in (score.beside or {}).values():
        wins, losses = pair
        numbers += [wins, losses]
    numbers += [loss for loss in (score.few_shot_loss, score.guessing_loss) if loss is not None]
    for number in numbers:
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            raise TypeError(f"{number!r} is no number")
