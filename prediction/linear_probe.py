"""What a plain classifier makes of the same examples: logistic regression on the language model's states of the texts.

A code has to be held against it: where training lacked a task's form, the states often know what no code says.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

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


@torch.no_grad()
def compute_text_states(model: CTRPreTrainedModel, inputs: Sequence[Sequence[int]]) -> np.ndarray:
    """Compute the mean of the language model's last states over each text, without any code.

    Args:
        model: A CTR model; of an encoder-decoder its encoder reads.
        inputs: Token ids of each text.

    Returns:
        `(num_texts, width)`, float32.
    """
    language_model: PreTrainedModel = model.backbone
    is_encoder_decoder = language_model.config.is_encoder_decoder
    reads = language_model.get_encoder() if is_encoder_decoder else language_model.get_decoder()
    device = model.get_input_embeddings().weight.device
    order = sorted(range(len(inputs)), key=lambda number: -len(inputs[number]))
    states: list[np.ndarray] = [np.empty(0)] * len(inputs)
    while order:
        count = max(1, BATCH_TOKENS // len(inputs[order[0]]))
        batch, order = order[:count], order[count:]
        ids = torch.zeros(len(batch), len(inputs[batch[0]]), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, number in enumerate(batch):
            ids[row, : len(inputs[number])], mask[row, : len(inputs[number])] = torch.tensor(inputs[number]), 1
        ids, mask = ids.to(device), mask.to(device)
        last = reads(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        means = (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        for number, mean in zip(batch, means.cpu().numpy(), strict=True):
            states[number] = mean
    return np.stack(states)


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
