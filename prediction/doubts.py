"""What speaks against a task that was just learned, in sentences for whoever is about to use it."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from evaluation.uncertainty import find_guessing

from .calibration import fit_calibration
from .fit_result import Estimate
from .linear_probe import LinearProbe
from .task_examples import TaskExamples

ONE_ANSWER = 0.99  # a share of the answers given that leaves next to nothing for the others


def find_doubts(
    examples: TaskExamples,
    few_shot: Mapping[str, float | None],
    unseen: torch.DoubleTensor,
    estimate: Estimate | None,
    vote_warning: str | None = None,
    probe: LinearProbe | None = None,
    calibrated: bool = False,
) -> list[str]:
    """Sentences to read before the task is used; none where nothing speaks against it.

    Args:
        examples: What it was learned from.
        few_shot: Losses and accuracies on them, by the names of [`FitResult`]'s fields.
        unseen: Log-likelihoods `(n, max_choices)` of the answers to the examples, while they were held out if they were.
        estimate: Accuracy to expect on new rows.
        vote_warning: What the Code Ensemble says of its vote.
        probe: A classifier on the language model's states, beside what was found.
        calibrated: Whether answers are calibrated, as which two of them may be exchanged.
    """
    doubts = [examples.warning]
    if examples.gold is None:
        doubts += [vote_warning, "without labels nothing tells how good this is: label some rows to know"]
    elif examples.majority is None:
        if few_shot["loss"] is not None and float(-unseen.mean()) >= few_shot["raw_loss"]:
            doubts.append(f"no better than the language model without a code (loss {few_shot['raw_loss']:.3f})")
    else:
        may_calibrate = not calibrated and examples.classes is not None
        doubts += _doubts_of_choices(examples, unseen, estimate, "`calibrate=True`, " if may_calibrate else "")
        if may_calibrate and _are_exchanged(unseen, examples.gold):
            doubts.append(
                "on the examples the model's two answers mean the opposite of the labels: with `calibrate=True` they are "
                "exchanged"
            )
        doubts.append(find_guessing(few_shot["loss"], few_shot["guessing_loss"]))
    if probe is not None and probe.is_better:
        doubts.append(
            f"a linear probe is right in {100 * probe.accuracy:.1f}% of the same held-out rows, clearly more: for this task "
            "train a classifier on `solver.embed(texts)`"
        )
    return [doubt for doubt in doubts if doubt is not None]


def _are_exchanged(unseen: torch.DoubleTensor, gold: Sequence[int]) -> bool:
    """Tell whether there are two answers, and the rows leave little doubt that each means the other."""
    return unseen.shape[1] == 2 and fit_calibration(unseen, torch.tensor(gold)).temperature < 0


def _doubts_of_choices(
    examples: TaskExamples, unseen: torch.DoubleTensor, estimate: Estimate | None, hint: str
) -> Iterator[str]:
    _, majority = examples.majority
    always = f"always giving the most frequent answer ({100 * majority:.1f}%)"
    if estimate is not None and estimate.accuracy <= majority:
        yield f"no better on new rows than {always}: {hint}more examples, other answers or a template may help"
    elif estimate is not None and estimate.interval.low <= majority:
        yield f"{len(unseen)} examples cannot tell it from {always}: label more to know"
    given = unseen.argmax(1).bincount().double() / len(unseen)
    share, number = float(given.max()), int(given.argmax())
    if share >= ONE_ANSWER and majority < ONE_ANSWER:
        label = f"choice {number + 1}" if examples.classes is None else repr(examples.classes.labels[number])
        yield f"{label} is the answer to {100 * share:.0f}% of the rows, whatever they say"
