"""Calibration: corrections of choice log-likelihoods for what a model answers to anything.

Each is a function of scores as `choice_log_likelihoods` gives them, and returns scores of the same shape, of which the
largest is the answer. They look at no labels. They are reported beside the plain scores, never in their place.
"""

import torch


def contextual_calibration(scores: torch.Tensor, content_free: torch.Tensor) -> torch.Tensor:
    """Divide the choices' probabilities by those that the model gives them for an input that says nothing.

    After Zhao et al. (2021), with a division instead of a learned matrix. Which choices there are must be the same for
    all inputs, as with a classification task's verbalizers.

    Args:
        scores: `(..., num_examples, num_choices)`, -inf where an example has fewer choices.
        content_free: `(..., num_inputs, num_choices)`: scores of inputs without content, such as "N/A" and an empty
            text, under the same codes; their probabilities are averaged.
    """
    bias = content_free.softmax(-1).mean(-2, keepdim=True)
    return (scores.log_softmax(-1) - bias.log()).masked_fill(scores.isneginf(), -torch.inf)


def batch_calibration(scores: torch.Tensor) -> torch.Tensor:
    """Divide the choices' probabilities by their means over the examples at hand (Zhou et al., 2024).

    It takes the answers to be about equally frequent, and needs a few dozen examples. Where examples have fewer choices
    than others, a choice's mean is over the examples that have it.

    Args:
        scores: `(..., num_examples, num_choices)`, -inf where an example has fewer choices.
    """
    probabilities = scores.softmax(-1)
    available = scores.isfinite()
    mean = probabilities.sum(-2, keepdim=True) / available.sum(-2, keepdim=True)
    return (scores.log_softmax(-1) - mean.log()).masked_fill(~available, -torch.inf)
