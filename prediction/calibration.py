"""Probabilities of answers that can be taken at their word: a temperature and a prior, fitted on a few labeled rows."""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar

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
    """Fit a temperature, by the likelihood of the right answers, and a prior, by how often each answer is given.

    The prior makes the mean probability of each answer what its share among the right ones is (both with one row of
    equal shares added, so that an answer that is never right keeps some). The logarithm of the temperature is taken to be
    normal around 0: it stays near 1 where the rows tell little, as a few that are all right do. Two answers, such as yes
    and no, may be exchanged, by a negative temperature, where the rows leave little doubt of it: a language model may have
    learned to say no to just what a task calls yes.

    Args:
        scores: Log-likelihoods `(n, num_choices)` of rows that the prompt was not searched on, -inf where a row has fewer
            choices.
        answers: `(n,)`, the right ones.
        with_prior: Whether choices mean the same in all rows, so that a prior makes sense.
    """
    calibration, loss = _fit_temperature(scores, answers, with_prior, sign=1)
    if with_prior and scores.shape[1] == 2:
        exchanged, loss_exchanged = _fit_temperature(scores, answers, with_prior, sign=-1)
        if loss_exchanged - math.log(OPPOSITE) < loss - math.log(1 - OPPOSITE):
            return exchanged
    return calibration


def _fit_temperature(
    scores: torch.Tensor, answers: torch.LongTensor, with_prior: bool, sign: int
) -> tuple[Calibration, float]:
    """Fit a calibration whose temperature has the sign; returns the negative logarithm of its likelihood as well."""
    prior = None
    if with_prior:
        num_choices = scores.shape[1]
        given = (sign * scores.double()).softmax(1).sum(0) + 1 / num_choices
        due = torch.bincount(answers, minlength=num_choices) + 1 / num_choices
        ratio = (given / due) ** sign  # it is taken off before the sign is changed
        prior = (ratio / ratio.sum()).tolist()

    def loss(log_temperature: float) -> float:
        values = Calibration(sign * math.exp(log_temperature), prior).log_probabilities(scores)
        return -values.gather(1, answers[:, None]).sum().item() + log_temperature**2 / 2

    best = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return Calibration(sign * math.exp(best.x), prior), float(best.fun)


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
