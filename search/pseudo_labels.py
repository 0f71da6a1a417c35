"""Searching by the votes of codes instead of labels, or beside a few labels.

Zero-label Bitwise Search refines a Code Ensemble's winner against the ensemble's own vote:

    vote = CodeEnsemble(CodeScorer(model, unlabelled)).run()
    rows = pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins)
    found = BitwiseSearch(CodeScorer(model, rows), task_code_space(model), start_codes=vote.code).run()

With a few labels as well, the voters are the best codes found with these, and both kinds of rows are searched by:

    found = BitwiseSearch(CodeScorer(model, labelled), task_code_space(model)).run()
    best = torch.tensor([each.code for each in found.top])
    vote = CodeEnsemble(CodeScorer(model, unlabelled), codes=best, num_codes=len(best)).run()
    rows = [*labelled, *pseudo_labelled(unlabelled, vote.pseudo_labels, vote.margins, weight=0.5)]
    found = BitwiseSearch(CodeScorer(model, rows), task_code_space(model), start_codes=found.code).run()
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def pseudo_labelled(
    examples: Iterable[Mapping[str, Any]],
    pseudo_labels: Sequence[int],
    margins: Sequence[float],
    weight: float = 1.0,
) -> list[dict[str, Any]]:
    """Rows with votes as their answers, that count in all objectives as much as the vote was clear.

    Args:
        examples: Rows with `input_ids` and `choice_ids`; their own answers, if any, are not looked at.
        pseudo_labels, margins: Per row, of a [`CodeEnsembleResult`].
        weight: How much a unanimous vote counts; a labelled row counts 1.

    Returns:
        New rows with `input_ids`, `choice_ids`, `answer`, `labels` and `weight`; without those whose vote was a draw.

    Raises:
        ValueError: There is not one vote per row, or every vote was a draw.
    """
    examples = list(examples)
    if not len(examples) == len(pseudo_labels) == len(margins):
        raise ValueError(
            f"There are {len(examples)} examples, but {len(pseudo_labels)} pseudo-labels and {len(margins)} margins: "
            "give the examples that were voted on, in their order."
        )
    rows = [
        {
            "input_ids": list(row["input_ids"]),
            "choice_ids": [list(choice) for choice in row["choice_ids"]],
            "answer": label,
            "labels": list(row["choice_ids"][label]),
            "weight": weight * margin,
        }
        for row, label, margin in zip(examples, pseudo_labels, margins, strict=True)
        if margin > 0
    ]
    if not rows:
        raise ValueError("Every vote was a draw: there is nothing to search by.")
    return rows
