"""What a plain classifier makes of the same examples: logistic regression on the language model's states of the texts.

A code has to be held against it: where training lacked a task's form, the states often know what no code says.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from modeling_ctr import CTRPreTrainedModel

BATCH_TOKENS = 4096
CLEARLY = 2  # standard errors of a difference that is taken for one


@dataclass(frozen=True)
class LinearProbe:
    """A classifier beside what `fit` found, on the rows that were held out from both.

    Attributes:
        accuracy: Share of the rows that it answers rightly.
        wins: Rows that it answers rightly and the found prompt does not.
        losses: Rows that the found prompt answers rightly and it does not.
    """

    accuracy: float
    wins: int
    losses: int

    @property
    def is_better(self) -> bool:
        """Whether it is better beyond what chance would make it (McNemar's test)."""
        return self.wins - self.losses > CLEARLY * math.sqrt(self.wins + self.losses)


def compute_text_states(model: CTRPreTrainedModel, inputs: Sequence[Sequence[int]]) -> np.ndarray:
    """Compute the mean of the language model's last states over each text, without any code.

    Args:
        model: A CTR model; of an encoder-decoder its encoder reads.
        inputs: Token ids of each text.

    Returns:
        `(num_texts, width)`, float32.
    """
    language_model = model.backbone
    is_encoder_decoder = language_model.config.is_encoder_decoder
    reads = language_model.get_encoder() if is_encoder_decoder else language_model.get_decoder()
    return compute_mean_states(reads, inputs, model.get_input_embeddings().weight.device)


@torch.no_grad()
def compute_mean_states(
    reads: nn.Module, inputs: Sequence[Sequence[int]], device: torch.device | None = None
) -> np.ndarray:
    """Compute the mean of a module's last states over each text, `(num_texts, width)`, float32.

    Args:
        reads: An encoder, or a decoder without its head.
        inputs: Token ids of each text.
        device: Where it takes them.
    """
    order = sorted(range(len(inputs)), key=lambda number: -len(inputs[number]))
    states: list[np.ndarray] = [np.empty(0)] * len(inputs)
    while order:
        count = max(1, BATCH_TOKENS // len(inputs[order[0]]))
        batch, order = order[:count], order[count:]
        ids = [torch.tensor(inputs[number], device=device) for number in batch]
        mask = pad_sequence([torch.ones_like(each) for each in ids], True)
        last = reads(input_ids=pad_sequence(ids, True), attention_mask=mask).last_hidden_state.float()
        means = (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        for number, mean in zip(batch, means.cpu().numpy(), strict=True):
            states[number] = mean
    return np.stack(states)


def get_log_odds(scores: torch.Tensor) -> np.ndarray:
    """Log-likelihoods of answers `(num_codes, num_texts, num_choices)` to what each code says of each text.

    Returns:
        Log-odds of each answer against the first, `(num_texts, num_codes * (num_choices - 1))`.
    """
    return (scores[..., 1:] - scores[..., :1]).transpose(0, 1).flatten(1).numpy()


def answer_held_out(states: np.ndarray, answers: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Answer each fold's rows by a classifier of the other folds' rows, `(n,)`.

    Args:
        states: `(n, width)`.
        answers: `(n,)`, the right ones.
        fold: `(n,)`, the fold of each row.
    """
    # Not where the command line would wait for it before it prints its help.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    given = np.empty_like(answers)
    for number in np.unique(fold):
        inside, outside = fold == number, fold != number
        if len(np.unique(answers[outside])) == 1:  # nothing to tell apart
            given[inside] = answers[outside][0]
            continue
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        given[inside] = classifier.fit(states[outside], answers[outside]).predict(states[inside])
    return given
