"""Few-shot examples: stratified, seeded, and disjoint from the evaluation rows.

Classes are the positions of the gold answer among the choices, counted on the rows that are drawn from, never on the
evaluation rows. Every class gets `ceil(num_shots / classes)` examples; where that makes more than `num_shots` (33 for
32 shots of three classes, which the paper's own code leaves so), one example each of randomly chosen classes is dropped
again, so that a draw has exactly `num_shots` examples and methods compared at 32 examples have 32. `exact=False` keeps
the surplus. Where there are just `num_shots` labelled rows, all are taken, whatever their classes. Tasks without choices, and tasks whose rows differ in their number of choices, are drawn from at random.
"""

import math
import random
from collections import Counter
from dataclasses import dataclass

from datasets import Dataset
from transformers.utils import logging

from .data import SplitRows
from .errors import DataError
from .task import Task

logger = logging.get_logger(__name__)

_LABEL_OR_LEAVE_OUT = "label some, or leave it out of the answer choices"


@dataclass(frozen=True)
class FewShotSplit:
    """Few-shot rows, and the evaluation rows that none of them is among; none are left where all were drawn."""

    train: Dataset
    evaluation: Dataset


def few_shot_split(
    task: Task, rows: SplitRows, num_shots: int = 32, seed: int = 42, exact: bool = True
) -> FewShotSplit:
    """Draws few-shot rows.

    They come from the training split, without those whose input text is also an evaluation input. Where the data set
    has one split only, they come from it and are taken out of the evaluation rows, as are rows with the same input.

    Args:
        task: Renders the rows; decides about classes and equal inputs. Other tasks of the data set can use the split.
        rows: Rows of the task's data set.
        num_shots: How many to draw, over all classes.
        seed: Random seed of the draw.
        exact: Whether to drop what is more than `num_shots`.

    Raises:
        DataError: There are fewer rows of some class than asked for.
    """
    one_split = rows.train_split == rows.evaluation_split
    taken = set() if one_split else _inputs(task, rows.evaluation)
    chosen = _draw(task, rows.train, taken, num_shots, seed, exact)
    few_shot = rows.train.select(chosen)
    evaluation = rows.evaluation
    if one_split:
        drawn = _inputs(task, few_shot)
        kept = []
        for index, row in enumerate(evaluation):
            example = task.example(row, index, check_answer=False)
            if example is None or example.input_text not in drawn:
                kept.append(index)
        evaluation = evaluation.select(sorted(set(kept) - set(chosen)))
    assert_disjoint(task, few_shot, evaluation)
    return FewShotSplit(few_shot, evaluation)


def assert_disjoint(task: Task, few_shot: Dataset, evaluation: Dataset) -> None:
    """Checks that no few-shot input text is an evaluation input.

    Raises:
        DataError: One is; the message shows it.
    """
    common = sorted(_inputs(task, few_shot) & _inputs(task, evaluation))
    if common:
        raise DataError(
            f"Task {task.name!r}: {len(common)} few-shot input(s) are also evaluation inputs, such as {common[0]!r:.200}."
        )


def _inputs(task: Task, rows: Dataset) -> set[str]:
    examples = (task.example(row, index, check_answer=False) for index, row in enumerate(rows))
    return {example.input_text for example in examples if example is not None}


def _draw(task: Task, rows: Dataset, taken: set[str], num_shots: int, seed: int, exact: bool) -> list[int]:
    """Indices of the drawn rows, in an order drawn as well. Inputs are drawn once each."""
    generator = random.Random(seed)
    order = list(range(len(rows)))
    generator.shuffle(order)
    by_class: dict[int, list[int]] = {}
    choice_lists: set[tuple[str, ...]] = set()
    seen = set(taken)
    for index in order:
        example = task.example(rows[index], index, check_answer=False)
        if example is None or not example.target_text or example.input_text in seen:
            continue
        if task.has_choices and example.answer is None:  # a target that is none of the choices
            continue
        seen.add(example.input_text)
        choice_lists.add(tuple(example.choices or ()))
        by_class.setdefault(example.answer or 0, []).append(index)
    numbers_of_choices = {len(choices) for choices in choice_lists}
    if len(numbers_of_choices) != 1 or 0 in numbers_of_choices:
        candidates = [index for indices in by_class.values() for index in indices]
        if len(candidates) < num_shots:
            raise DataError(
                f"Task {task.name!r}: {num_shots} few-shot examples are asked for, but only {len(candidates)} labelled "
                "training rows are not among the evaluation inputs."
            )
        return generator.sample(candidates, num_shots)

    num_classes = numbers_of_choices.pop()
    num_labelled = sum(map(len, by_class.values()))
    if num_labelled == num_shots:  # such as a file of just the examples that one has labelled
        return generator.sample([index for indices in by_class.values() for index in indices], num_shots)
    if num_shots < num_classes:
        logger.warning(
            f"Task {task.name!r}: {num_shots} few-shot examples for {num_classes} answers leave {num_classes - num_shots} "
            f"of them without one; ask for {num_classes} or more."
        )
    per_class = math.ceil(num_shots / num_classes)
    quota = Counter(dict.fromkeys(range(num_classes), per_class))
    if exact:
        quota.subtract(generator.sample(range(num_classes), per_class * num_classes - num_shots))
    for answer, count in quota.items():
        available = len(by_class.get(answer, ()))
        if available < count:
            text = f" ({min(choice_lists)[answer]!r})" if len(choice_lists) == 1 else ""
            fewest = min(len(by_class.get(each, ())) for each in range(num_classes))
            advice = f"ask for fewer shots, {fewest * num_classes} at most" if fewest else _LABEL_OR_LEAVE_OUT
            advice += f"; all {num_labelled} labelled rows are taken with num_shots {num_labelled}"
            raise DataError(
                f"Task {task.name!r}: {count} few-shot examples of answer {answer}{text} are asked for, but only "
                f"{available} labelled training rows of it are not among the evaluation inputs; {advice}."
            )
    chosen = [index for answer, count in quota.items() for index in by_class[answer][:count]]
    generator.shuffle(chosen)
    return chosen
