"""Probabilities of answers that can be taken at their word: a temperature and a prior, fitted on a few labeled rows."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from modeling_ctr.task_details import TaskDetails
from tasks.template import ANSWER_CHOICES, SEPARATOR

# Between these the temperature is looked for.
LOWEST, HIGHEST = 0.05, 100.0
# How often two answers are believed to mean the opposite of what the model takes them for, before looking at any row.
OPPOSITE = 0.01


@dataclass(frozen=True)
class Calibration:
    """A correction of answers' log-likelihoods.

    Attributes:
        temperature: Divisor of the log-likelihoods; negative where two answers mean the opposite of what the model takes
            them for.
        prior: Share that the model gives each answer beyond what is due, adding up to 1; its probabilities are divided by
            it. None for none.
    """

    temperature: float = 1.0
    prior: list[float] | None = None

    def log_probabilities(self, scores: torch.Tensor) -> torch.DoubleTensor:
        """Log-likelihoods `(..., num_choices)`, -inf where there is no choice, to log-probabilities among the choices."""
        values = scores.double().log_softmax(-1)
        if self.prior is not None:
            values = values - torch.tensor(self.prior, dtype=torch.float64).log()
        return (values / self.temperature).log_softmax(-1)


def fit_calibration(scores: torch.Tensor, answers: torch.LongTensor, with_prior: bool = True) -> Calibration:
    """Fit a temperature, and a prior, by the likelihood of the right answers.

    Little is believed without rows that say it: the logarithm of the temperature, and what is added to the log-probability
    of each answer, are taken to be normal around 0 with a deviation of 1. So the temperature stays near 1 where the rows
    tell little, as a few that are all right do. Two answers, such as yes and no, may be exchanged, by a negative
    temperature, where the rows leave little doubt of it: a language model may have learned to say no to just what a task
    calls yes.

    Args:
        scores: Log-likelihoods `(n, num_choices)` of rows that the prompt was not searched on, -inf where a row has fewer
            choices.
        answers: `(n,)`, the right ones.
        with_prior: Whether choices mean the same in all rows, so that a prior makes sense.
    """
    values, right = scores.double().log_softmax(-1).numpy(), answers.numpy()
    calibration, loss = _fit(values, right, with_prior, sign=1)
    if with_prior and scores.shape[1] == 2:
        exchanged, loss_exchanged = _fit(values, right, with_prior, sign=-1)
        if loss_exchanged - math.log(OPPOSITE) < loss - math.log(1 - OPPOSITE):
            return exchanged
    return calibration


def _fit(values: np.ndarray, answers: np.ndarray, with_prior: bool, sign: int) -> tuple[Calibration, float]:
    """Fit a calibration whose temperature has the sign; returns the negative logarithm of its likelihood as well."""
    there = np.isfinite(values)
    values = np.where(there, values, 0.0)
    is_right = np.eye(values.shape[1])[answers]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_temperature, bias = parameters[0], parameters[1:] if with_prior else 0.0
        scale = sign * math.exp(-log_temperature)
        log_p = log_softmax(np.where(there, scale * values + bias, -np.inf), axis=1)
        excess = np.exp(log_p) - is_right  # gradient of the loss by the scaled values
        gradient = np.array([-scale * (excess * values).sum(), *(excess.sum(0) if with_prior else ())])
        return -log_p[is_right == 1].sum() + (parameters**2).sum() / 2, gradient + parameters

    size = 1 + with_prior * values.shape[1]
    bounds = [(math.log(LOWEST), math.log(HIGHEST)), *[(None, None)] * (size - 1)]
    best = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B", bounds=bounds)
    temperature = sign * math.exp(best.x[0])
    # In the end a logarithm is taken of it.
    prior = softmax(-temperature * best.x[1:]).clip(min=1e-300).tolist() if with_prior else None
    return Calibration(temperature, prior), float(best.fun)


def keep_calibration(details: TaskDetails, calibration: Calibration) -> TaskDetails:
    """Put a calibration into a task's details.

    Where it exchanges two answers, the details have them exchanged, and a temperature above 0: so a word means the right
    label wherever it is read, also where an exported model writes it. Not so where the template shows the answers in the
    input, which would change with them.
    """
    if calibration.temperature > 0 or ANSWER_CHOICES in details.template.split(SEPARATOR)[0]:
        return replace(details, temperature=calibration.temperature, prior=calibration.prior)
    return replace(
        details,
        answers=details.answers[::-1],
        temperature=-calibration.temperature,
        prior=calibration.prior[::-1],
    )


def expected_calibration_error(probabilities: torch.Tensor, answers: torch.LongTensor, bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over bins of equal width (Guo et al., 2017).

    Args:
        probabilities: `(n, num_choices)`.
        answers: `(n,)`, the right ones.
        bins: Number of bins of the confidence, the largest probability of a row.
    """
    confidence, predicted = probabilities.max(1)
    correct = (predicted == answers).double()
    number = (confidence * bins).long().clamp(max=bins - 1)
    error = 0.0
    for each in range(bins):
        chosen = number == each
        if chosen.any():
            error += abs(float((correct[chosen] - confidence[chosen]).sum()))
    return error / len(answers)
