"""What a task will be worth on rows that it was not searched on: cross-fitting, and a choice between methods without bias.

Every method is run on all folds but one and answers the rows of that one, so that each row is answered by a prompt that
never saw it. The best of several methods looks better on these rows than it is, since it was chosen by them; so the
choice is repeated on bootstrap draws of the rows and judged on the rows that a draw leaves out (Tsamardinos et al.,
2018, "Bootstrapping the out-of-sample predictions", which needs no further searches).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from search.scoring.objectives import choice_cross_entropy

from .methods import FoundPrompt

DRAWS = 1000


@dataclass(frozen=True)
class HeldOutAnswers:
    """What each method says of rows that it was not searched on.

    Attributes:
        scores: By method, `(n, max_choices)`: log-likelihoods of the answers; for a free-form task `(n, 1)`, of the
            targets.
        fold: `(n,)`: the fold that each row was held out in.
    """

    scores: dict[str, torch.DoubleTensor]
    fold: torch.LongTensor


def stratified_folds(answers: Sequence[int], num_folds: int, seed: int) -> torch.LongTensor:
    """A fold for each row `(n,)`, so that each answer is spread over the folds as evenly as can be."""
    order = list(range(len(answers)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda row: answers[row])  # stable: within an answer as drawn
    fold = torch.zeros(len(answers), dtype=torch.long)
    for position, row in enumerate(order):
        fold[row] = position % num_folds
    return fold


def cross_fit(
    methods: Sequence[str],
    fold: torch.LongTensor,
    find: Callable[[str, list[int], int], FoundPrompt],
    score: Callable[[FoundPrompt, torch.LongTensor], torch.DoubleTensor],
) -> HeldOutAnswers:
    """Run every method on all folds but one, and score the rows of that one.

    Args:
        methods: Names of the methods.
        fold: `(n,)`, of each row.
        find: `(method, rows, fold) -> prompt`, from these rows alone.
        score: `(prompt, rows) -> (len(rows), max_choices)`.
    """
    scores: dict[str, list[torch.Tensor]] = {method: [] for method in methods}
    numbers = []
    for number in fold.unique().tolist():
        held_out = (fold == number).nonzero().flatten()
        rest = (fold != number).nonzero().flatten().tolist()
        numbers.append(held_out)
        for method in methods:
            scores[method].append(score(find(method, rest, number), held_out))
    back = torch.cat(numbers).argsort()
    return HeldOutAnswers({method: torch.cat(parts)[back] for method, parts in scores.items()}, fold)


def choice_outcomes(scores: torch.DoubleTensor, answers: torch.LongTensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each row's likeliest answer is right, and its loss, both `(n,)`; scores `(n, max_choices)`."""
    predicted = torch.from_numpy(scores.numpy().argmax(-1))  # of equals the first
    return (predicted == answers).double(), choice_cross_entropy(scores, answers)


def best_method(correct: torch.DoubleTensor, losses: torch.DoubleTensor) -> int:
    """The method that is right most often, of equals the one of less loss, of equals the first; both `(n, methods)`."""
    return int(_preference(correct.mean(0)[None], losses.mean(0)[None]).argmax())


def estimate_accuracy(
    correct: torch.DoubleTensor, losses: torch.DoubleTensor, seed: int = 0, draws: int = DRAWS
) -> float:
    """Accuracy to expect of `best_method` on new rows.

    Args:
        correct: `(n, methods)`: whether each method is right on a row that it was not searched on.
        losses: `(n, methods)`: its losses there.
        seed: Random seed of the draws.
        draws: Number of bootstrap draws.
    """
    num_rows, num_methods = correct.shape
    if num_methods == 1 or num_rows < 4:
        return float(correct[:, best_method(correct, losses)].mean())
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num_rows, (draws, num_rows), generator=generator)
    counts = torch.zeros(draws, num_rows, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(drawn.shape).double())
    best = _preference(counts @ correct / num_rows, counts @ losses / num_rows).argmax(1)  # (draws,)
    left_out = (counts == 0).double()
    kept = left_out.sum(1) > 0
    accuracy = (left_out * correct[:, best].T).sum(1)[kept] / left_out.sum(1)[kept]
    return float(accuracy.mean())


def _preference(accuracy: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """Larger is better, `(draws, methods)`: by accuracy, then by loss."""
    return accuracy - 1e-6 * (loss / loss.abs().amax(1, keepdim=True).clamp(min=1e-12))
