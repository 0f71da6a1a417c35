"""Calibration: choice log-likelihoods corrected for what a model answers to anything, without a look at labels."""

import torch


def batch_calibration(scores: torch.Tensor) -> torch.Tensor:
    """Divide the choices' probabilities by their means over the examples at hand (Zhou et al., 2024).

    It takes the answers to be about equally frequent, and needs a few dozen examples. Where examples have fewer choices
    than others, a choice's mean is over the examples that have it.

    Args:
        scores: `(..., num_examples, num_choices)`, -inf where an example has fewer choices, as
            `choice_log_likelihoods` gives them.

    Returns:
        Scores of the same shape, of which the largest is the answer.
    """
    probabilities = scores.softmax(-1)
    available = scores.isfinite()
    mean = probabilities.sum(-2, keepdim=True) / available.sum(-2, keepdim=True)
    return (scores.log_softmax(-1) - mean.log()).masked_fill(~available, -torch.inf)
