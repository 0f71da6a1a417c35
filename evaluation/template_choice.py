"""A choice of templates that looks at no label."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from evaluation.examples import draw_unlabelled_rows
from search import PromptScorer
from search.scoring.code_scorer import first_argmax
from tasks import FeatureBuilder, SplitRows, Task


def choose_most_varied(
    model: PreTrainedModel,
    tasks: Sequence[Task],
    rows: SplitRows,
    builder: FeatureBuilder,
    num_unlabelled: int,
    seed: int,
    count: int,
) -> list[Task]:
    """Choose the templates of a data set under which the raw language model gives the most varied answers.

    Letter case or wording of the answer choices can make a model answer one of them to everything; no code found under
    such a template means much. Measured by the entropy of its answers to unlabeled rows of the training split.

    Args:
        model: A CTR model, or any language model.
        tasks: Tasks of one data set; must have answer choices.
        rows: Rows of that data set.
        builder: Tokenizes them.
        num_unlabelled: Unlabeled rows to draw.
        seed: Random seed of the draw.
        count: Number of templates to choose.

    Returns:
        The chosen ones, in the order of `tasks`; of equals the first.
    """
    if count >= len(tasks):
        return list(tasks)
    unlabelled = rows.train.select(draw_unlabelled_rows(rows, num_unlabelled, seed))

    def compute_entropy(task: Task) -> float:
        scorer = PromptScorer(model, builder.evaluation(task, unlabelled))
        answers = first_argmax(scorer.choice_log_likelihoods()[0])
        shares = np.bincount(answers.numpy()) / scorer.num_examples
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

    chosen = sorted(tasks, key=compute_entropy, reverse=True)[:count]  # stable: of equals the first
    return [task for task in tasks if task in chosen]
