"""Code Ensemble: a task's code without any labels, by a vote of the training tasks' codes (paper, section 3.4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from transformers.utils import logging

from .config import SearchConfig, get_config
from .ensemble_filter import Bias, KeepRule, choose_voters, compute_bias, get_prior
from .results import SearchResult
from .scoring.code_scorer import CodeScorer
from .task_code_search import training_codes

logger = logging.get_logger(__name__)

# A pair predicts "one label" from this share of the examples on; a vote is not to be trusted when this share of the
# pairs does.
ONE_LABEL, NEARLY_ALL = 0.95, 0.9


@strict
@dataclass
class EnsembleMember:
    """A (template, code) pair of a [`CodeEnsembleResult`].

    Args:
        template: Name of the template.
        code_index: Row of the code among those given.
        task_name: The training task whose code it is.
        bias: Distance of its predicted-label shares from the prior.
        kept: Whether the filter kept it, so that it votes.
        label_shares: Share of the examples for which it predicts each label.
        pseudo_accuracy: Its agreement with the vote.
    """

    template: str
    code_index: int
    task_name: str
    bias: float
    kept: bool
    label_shares: list[float]
    pseudo_accuracy: float


@strict
@dataclass
class CodeEnsembleResult(SearchResult):
    """Result of [`CodeEnsemble`].

    Args:
        code: The winner: of the kept (template, code) pairs, the code of the one that agrees most with the vote.
        task_name: The training task whose code it is.
        template: The winner's template.
        pseudo_accuracy: The winner's agreement with the vote.
        pseudo_labels: The vote, one label per example.
        margins: Per example, votes for the label minus votes for the runner-up, as a share of all votes.
        label_shares: Share of the examples with each pseudo-label.
        num_voters: Number of kept pairs.
        one_label_share: Share of all pairs, kept or not, that predict one label on at least 95% of the examples.
        warning: What is wrong with the vote, if anything: do not trust the winner then.
        members: All pairs, templates in order, then codes.
    """

    code: list[int]
    task_name: str
    template: str
    pseudo_accuracy: float
    pseudo_labels: list[int]
    margins: list[float]
    label_shares: list[float]
    num_voters: int
    one_label_share: float
    warning: str | None
    members: list[EnsembleMember] = field(default_factory=list)


class CodeEnsemble:
    """Predictions of all training codes, a filter for balance, a majority vote, and the code that agrees most with it.

    Nothing is read from labels: where the examples have answers, they are ignored.

    Args:
        scorer: Scores the task's unlabelled examples; for several templates a dict of one scorer per template, by
            name, over the same examples in the same order. Labels must mean the same in all templates.
        config: Settings of the search, of which it reads `num_codes`. Default: [`SearchConfig`]'s.
        codes: `(num_codes, code_length)`. Default: the codes of the model's training tasks.
        task_names: A name per code. Default: the model's training tasks.
        prior: Expected share of each label, e.g. known class frequencies. Default: uniform over each example's choices.
        bias, keep_rule: See [`compute_bias`] and [`choose_voters`]; `bias="largest_share", keep_rule="original"` is the
            authors' filter.
        overrides: Settings to use instead of the config's, by name.

    Raises:
        ValueError: No answer choices, templates over different examples, or a prior that does not fit.
        TypeError: There is no such setting.
    """

    def __init__(
        self,
        scorer: CodeScorer | Mapping[str, CodeScorer],
        config: SearchConfig | None = None,
        *,
        codes: torch.LongTensor | None = None,
        task_names: Sequence[str] | None = None,
        prior: Sequence[float] | None = None,
        bias: Bias = "total_variation",
        keep_rule: KeepRule = "exact",
        **overrides: Any,
    ):
        self.config = get_config(config, overrides)
        self.scorers = dict(scorer) if isinstance(scorer, Mapping) else {"default": scorer}
        if not self.scorers:
            raise ValueError("There are no templates to vote with.")
        self.codes, self.task_names = training_codes(next(iter(self.scorers.values())), codes, task_names)
        self.prior, self.bias, self.keep_rule = prior, bias, keep_rule
        for name, each in self.scorers.items():
            if not each.has_choices:
                raise ValueError(f"Code Ensemble votes between answer choices, but template '{name}' has none.")

    def run(self) -> CodeEnsembleResult:
        """Score, filter, vote and choose."""
        return ensemble_vote(
            {name: scorer.choice_log_likelihoods(self.codes) for name, scorer in self.scorers.items()},
            self.codes,
            self.task_names,
            self.config.num_codes,
            self.prior,
            self.bias,
            self.keep_rule,
        )


def ensemble_vote(
    scores: Mapping[str, torch.Tensor],
    codes: torch.LongTensor,
    task_names: Sequence[str],
    num_codes: int = 60,
    prior: Sequence[float] | None = None,
    bias: Bias = "total_variation",
    keep_rule: KeepRule = "exact",
) -> CodeEnsembleResult:
    """Vote on given scores, e.g. choice log-likelihoods, as [`CodeEnsemble`] does.

    Ties always go to the first: of equal choices the lower, of equally biased codes the lower, of equally supported
    labels the lower, of equally agreeing pairs the first in order of templates, then codes.

    Args:
        scores: Per template `(num_codes, num_examples, num_choices)`, -inf where an example has fewer choices.
        codes, task_names, num_codes, prior, bias, keep_rule: As for [`CodeEnsemble`].

    Raises:
        ValueError: The templates' shapes or numbers of choices differ, or the prior does not fit.
    """
    arrays = {name: _checked(name, values, len(codes)) for name, values in scores.items()}
    available = _get_common_choices(arrays)
    num_labels = available.shape[1]
    expected = get_prior(prior, available)
    # All below runs over the pairs: templates in order, then codes.
    templates = [name for name in arrays for _ in task_names]
    indices = list(range(len(codes))) * len(arrays)
    # (num_pairs, num_examples); numpy takes the first of equals
    predictions = np.concatenate([values.argmax(2) for values in arrays.values()])
    shares = np.stack([(predictions == label).mean(1) for label in range(num_labels)], axis=1)
    biases = compute_bias(shares, expected, bias)
    of_template = biases.reshape(len(arrays), len(codes))
    kept = np.concatenate([choose_voters(each, num_codes, keep_rule) for each in of_template])

    voters = predictions[kept]
    votes = np.stack([(voters == label).sum(0) for label in range(num_labels)], axis=1)  # (num_examples, num_labels)
    pseudo_labels = votes.argmax(1)
    ranked = np.sort(votes, axis=1)
    runner_up = ranked[:, -2] if num_labels > 1 else 0
    agreement = (predictions == pseudo_labels).mean(1)
    winner = int(np.where(kept, agreement, -1.0).argmax())

    one_label_share = float((shares.max(1) >= ONE_LABEL).mean())
    warning = _warning(one_label_share, pseudo_labels, num_labels)
    if warning:
        logger.warning(warning)
    if len(codes) < num_codes:
        logger.info(f"Code Ensemble was to keep {num_codes} codes, but there are only {len(codes)}: all of them vote.")
    members = [
        EnsembleMember(name, i, task_names[i], float(bias_of), bool(votes_too), of_labels.tolist(), float(agrees))
        for name, i, bias_of, votes_too, of_labels, agrees in zip(
            templates, indices, biases, kept, shares, agreement, strict=True
        )
    ]
    return CodeEnsembleResult(
        code=codes[indices[winner]].tolist(),
        task_name=task_names[indices[winner]],
        template=templates[winner],
        pseudo_accuracy=float(agreement[winner]),
        pseudo_labels=pseudo_labels.tolist(),
        margins=((ranked[:, -1] - runner_up) / len(voters)).tolist(),
        label_shares=[float((pseudo_labels == label).mean()) for label in range(num_labels)],
        num_voters=len(voters),
        one_label_share=one_label_share,
        warning=warning,
        members=members,
    )


def _get_common_choices(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which choices each example has, `(num_examples, num_choices)`; a ValueError where templates differ in them."""
    first_name, first = next(iter(scores.items()))
    available = np.isfinite(first[0])
    for name, values in scores.items():
        if values.shape != first.shape or (np.isfinite(values[0]) != available).any():
            raise ValueError(
                f"Templates '{first_name}' and '{name}' cannot vote together: they must have the same examples in the "
                f"same order, with the same number of choices (scores of shapes {first.shape} and {values.shape})."
            )
    return available


def _checked(name: str, scores: torch.Tensor, num_codes: int) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] != num_codes or 0 in values.shape:
        raise ValueError(
            f"The scores of template '{name}' must have the shape ({num_codes}, num_examples, num_choices), but have "
            f"{values.shape}."
        )
    return values


def _warning(one_label_share: float, pseudo_labels: np.ndarray, num_labels: int) -> str | None:
    if num_labels < 2:
        return "The examples have only one answer choice: there is nothing to vote on."
    if one_label_share >= NEARLY_ALL:
        return (
            f"{one_label_share:.0%} of the (template, code) pairs predict a single label on at least {ONE_LABEL:.0%} of "
            "the examples: the vote is among near-copies and its winner means little. Try other verbalizers or "
            "templates, or Bitwise Search with a few labels."
        )
    label = int(np.bincount(pseudo_labels).argmax())
    share = float((pseudo_labels == label).mean())
    if share >= ONE_LABEL and len(pseudo_labels) > 1:
        return (
            f"The vote gives {share:.0%} of the {len(pseudo_labels)} examples label {label}: codes that answer it "
            "blindly agree with the vote most, so its winner means little."
        )
    return None
