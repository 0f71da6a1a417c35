"""In-context learning: the language model reads the labeled examples with their answers, then a text to answer.

The examples are the 32 that everything else gets, in the order in which they were drawn, one a line. They are read once;
their keys and values serve all texts.
"""

from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from search.scoring.causal_reading import Layers, make_cache, read_on

BATCH_SIZE = 8


@torch.no_grad()
def answer_in_context(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, shots: Dataset, rows: Dataset
) -> tuple[list[int], int]:
    """Choose the answer of each row that is likeliest behind the examples, by its summed log-probability.

    Args:
        model: A decoder-only language model.
        tokenizer: Its tokenizer.
        shots: Labeled examples, as `FeatureBuilder.evaluation` makes them.
        rows: What to answer, likewise.

    Returns:
        The number of the chosen answer of each row, and how many examples fitted into the model's positions.
    """
    line_end = tokenizer("\n\n", add_special_tokens=False)["input_ids"]
    longest = max(len(row["input_ids"]) + max(map(len, row["choice_ids"])) for row in rows)
    context, used = _join_examples(shots, line_end, model.config.max_position_embeddings - longest)
    cache = make_cache([])
    embed = model.get_input_embeddings()
    read_on(model, embed(torch.tensor([context])), torch.ones(1, len(context), dtype=torch.long), cache, 1)
    layers = [tuple(layer[:2]) for layer in cache]
    answers = []
    for first in range(0, len(rows), BATCH_SIZE):
        batch = [rows[i] for i in range(first, min(first + BATCH_SIZE, len(rows)))]
        answers += _score_batch(model, layers, batch)
    return answers, used


def _join_examples(shots: Dataset, line_end: list[int], room: int) -> tuple[list[int], int]:
    """Join as many examples as there is room for; answers go without the end-of-text token."""
    context: list[int] = []
    for used, shot in enumerate(shots):
        example = [*shot["input_ids"], *shot["choice_ids"][shot["answer"]][:-1], *line_end]
        if len(context) + len(example) > room:
            return context, used
        context += example
    return context, len(shots)


def _score_batch(model: PreTrainedModel, layers: Layers, batch: Sequence[dict]) -> list[int]:
    """Score the answers of a few rows behind the context; a row for each pair of text and answer."""
    pairs = [(row["input_ids"], choice[:-1]) for row in batch for choice in row["choice_ids"]]
    longest = max(len(text) + len(choice) for text, choice in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    mask, is_answer = torch.zeros_like(ids), torch.zeros(len(pairs), longest, dtype=torch.bool)
    for i, (text, choice) in enumerate(pairs):  # padded behind: what is in the cache stands right in front
        end = len(text) + len(choice)
        ids[i, :end], mask[i, :end] = torch.tensor([*text, *choice]), 1
        is_answer[i, len(text) : end] = True
    cache = make_cache([(k.expand(len(pairs), -1, -1, -1), v.expand(len(pairs), -1, -1, -1)) for k, v in layers])
    read = torch.ones(len(pairs), cache.get_seq_length(), dtype=torch.long)
    kept = longest - min(len(text) for text, _ in pairs) + 1
    logits = read_on(model, model.get_input_embeddings()(ids), torch.cat([read, mask], 1), cache, kept)
    chosen = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1 - kept :, None])[..., 0]
    scores = (chosen * is_answer[:, 1 - kept :]).sum(1).split([len(row["choice_ids"]) for row in batch])
    return [int(each.argmax()) for each in scores]
