"""Log-likelihoods of given answers under an encoder-decoder language model: rank classification, in training and searches."""

import torch
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


def compute_answer_log_likelihoods(
    language_model: PreTrainedModel,
    encoder_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    answers: torch.LongTensor,
    lengths: torch.LongTensor,
    input_of_row: torch.LongTensor,
    answer_of_row: torch.LongTensor,
    token_budget: int | None = None,
) -> torch.DoubleTensor:
    """Decode answers from encoder states and sum the log-probabilities of their tokens.

    Args:
        language_model: An encoder-decoder language model.
        encoder_states: `(num_inputs, input_length, width)`.
        attention_mask: `(num_inputs, input_length)` of the encoder states; None where nothing is padding.
        answers: `(num_answers, longest)` token ids, end tokens included, padded at the end with any id.
        lengths: `(num_answers,)`: number of tokens of each answer, on the CPU.
        input_of_row: `(rows,)`: the input that each asked-for answer belongs to, on the CPU.
        answer_of_row: `(rows,)`: which of the answers it is, on the CPU.
        token_budget: Encoder tokens of a batch, of which the decoder's batches are made: what all rows have in common is
            decoded once, the rest in chunks. None: one pass over all rows, whatever they are. Processes that share the
            weights need that: each of them has to make equally many passes.

    Returns:
        `(rows,)` log-likelihoods, on the language model's device.
    """
    device = encoder_states.device
    start = torch.full((len(encoder_states), 1), get_decoder_start_token(language_model), device=device)
    total = torch.zeros(len(input_of_row), dtype=torch.float64, device=device)
    cache, first = None, 0
    if token_budget is not None and len(input_of_row) > len(encoder_states):
        # Several answers per input: the start token is decoded once per input. This gives the first token's
        # log-probabilities of all of them and fills the cache with the input's cross-attention keys and values.
        cache, first = EncoderDecoderCache(DynamicCache(), DynamicCache()), 1
        logits = language_model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoder_states),
            attention_mask=attention_mask,
            decoder_input_ids=start,
            past_key_values=cache,
            use_cache=True,
        ).logits.float()
        inputs = input_of_row.to(device)
        chosen = logits[inputs, 0, answers[answer_of_row.to(device), 0]]
        total += (chosen - logits[:, 0].logsumexp(-1)[inputs]).double()
    # The longest answers first, so that a chunk holds answers of about one length and little padding is decoded. The
    # rows of a chunk are bounded twice: each needs a copy of its input's keys and values (or encoder states), and gives
    # logits over the whole vocabulary for every token, which are larger than all else.
    order = lengths[answer_of_row].argsort(descending=True, stable=True)
    order = order[lengths[answer_of_row[order]] > first]
    while len(order):
        steps = int(lengths[answer_of_row[order[0]]]) - first
        size = len(order)
        if token_budget is not None:
            size = max(1, min(4 * token_budget // encoder_states.shape[1], token_budget // (2 * steps)))
        rows, order = order[:size], order[size:]
        labels = answers[answer_of_row[rows].to(device), : first + steps]
        inputs = input_of_row[rows].to(device)
        if cache is None:
            decoder_input_ids = torch.cat([start[inputs], labels[:, :-1]], dim=1)
            past, states = None, encoder_states[inputs]
        else:
            decoder_input_ids = labels[:, :-1]  # the start token is in the cache
            past = EncoderDecoderCache([[None if t is None else t[inputs] for t in layer] for layer in cache])
            states = encoder_states[:1].expand(len(rows), -1, -1)  # only its shape is read: keys and values are there
        logits = language_model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=None if attention_mask is None else attention_mask[inputs],
            decoder_input_ids=decoder_input_ids,
            past_key_values=past,
            use_cache=cache is not None,
        ).logits.float()
        counts = (lengths[answer_of_row[rows]] - first).to(device)
        total[rows.to(device)] += sum_log_probabilities(logits, labels[:, first:], counts)
    return total


def sum_log_probabilities(logits: torch.Tensor, tokens: torch.LongTensor, counts: torch.LongTensor) -> torch.Tensor:
    """Sum the log-probabilities of the first `counts` `(rows,)` tokens of each row, `(rows,)`, float64.

    Args:
        logits: `(rows, steps, vocab_size)`, float32.
        tokens: `(rows, steps)`: those that the logits are of, padded at the end with any id.
        counts: Number of tokens of each row that are none of the padding.
    """
    counted = torch.arange(tokens.shape[1], device=tokens.device) < counts[:, None]
    return get_log_probabilities(logits, tokens).double().masked_fill(~counted, 0.0).sum(1)


def get_log_probabilities(logits: torch.Tensor, tokens: torch.LongTensor) -> torch.Tensor:
    """Get the log-probabilities `(rows, steps)` of tokens `(rows, steps)` under logits `(rows, steps, vocab_size)`."""
    return logits.gather(2, tokens[..., None]).squeeze(-1) - logits.logsumexp(-1)


def get_decoder_start_token(language_model: PreTrainedModel) -> int:
    """The token that decoding starts with: the one that the model itself puts in front of labels."""
    label = torch.zeros(1, 1, dtype=torch.long)
    try:
        return int(language_model.prepare_decoder_input_ids_from_labels(label)[0, 0])
    except (AttributeError, ValueError):  # T5 configs may leave it out: decoding starts with padding
        return language_model.config.pad_token_id
