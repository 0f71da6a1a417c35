"""Which values of a code's positions promise most: the loss's gradient by the prompt vectors, one backward pass."""

import torch

from .scoring.code_scorer import CodeScorer
from .scoring.codes import CodeSpace
from .scoring.objectives import Objective


def promising_variants(
    scorer: CodeScorer, objective: Objective, code: tuple[int, ...], code_space: CodeSpace
) -> list[tuple[int, int]]:
    """All `(position, value)` that differ from the code, the largest first-order decrease of the objective first.

    Replacing the vector p at a position by v changes the loss by about gradient . (v - p). Steps between code vectors
    are long, so that this only ranks: what is promising has to be evaluated.
    """
    model = scorer.model
    with torch.no_grad():
        prompt = model.prompt_vectors(torch.tensor([code], device=model.device))
        # One table serves all positions: row i of `vectors` is that of value i.
        values = torch.arange(model.config.codebook_size, device=model.device)
        vectors = model.prompt_vectors(values[:, None].expand(-1, len(code)))[:, 0]
    _, gradients = objective.gradients(scorer.prompt_scorer, prompt, None)
    gradient, prompt, vectors = (tensor.cpu().double() for tensor in (gradients[0], prompt[0], vectors))
    decrease = (gradient * prompt).sum(1, keepdim=True) - gradient @ vectors.T  # (code_length, codebook_size)
    decrease = decrease.tolist()
    variants = [(i, v) for i, values in enumerate(code_space) for v in values if v != code[i]]
    return sorted(variants, key=lambda variant: -decrease[variant[0]][variant[1]])  # stable: of equals the first
