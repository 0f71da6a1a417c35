"""All answers of a pair in one row behind one context: nothing of the context is copied for each of them."""

import torch
from transformers import DynamicCache, PreTrainedModel

from modeling_ctr.answer_likelihoods import get_log_probabilities
from modeling_ctr.check_backbone import takes_argument

from .causal_reading import make_cache, read_on
from .targets import Targets


def can_pack(language_model: PreTrainedModel) -> bool:
    """Tell whether a language model, in evaluation mode, takes a mask that keeps answers of a row from seeing each other.

    Not with a sliding window, which counts places in the row, nor without position ids. Otherwise it is tried out.
    """
    config = language_model.config.get_text_config()
    layer_types = getattr(config, "layer_types", None) or ["full_attention"]
    if (
        set(layer_types) != {"full_attention"}
        or (getattr(config, "sliding_window", None) and not hasattr(config, "layer_types"))
        or config._attn_implementation not in ("sdpa", "eager")
        or not takes_argument(language_model, "position_ids")
    ):
        return False
    weight = language_model.get_input_embeddings().weight
    ids = torch.linspace(1, weight.shape[0] - 1, 8, device=weight.device).long()
    targets = Targets.build([[ids[[3, 4, 5]].tolist(), ids[[3, 6, 7]].tolist()]], weight.device)
    try:
        with torch.no_grad():
            words, cache = language_model.get_input_embeddings(), DynamicCache()
            mask = torch.ones(1, 3, dtype=torch.long, device=weight.device)
            read_on(language_model, words(ids[None, :3]), mask, cache, 1)
            rows = torch.tensor([0, 0]), torch.tensor([0, 1])
            packed = score_packed(language_model, cache, mask, *rows, targets, 1, 2048)
            whole = [
                language_model(torch.cat([ids[:3], answer])[None]).logits[0, 3:5].float().log_softmax(-1)
                for answer in targets.tokens
            ]
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    expected = [scores.gather(1, a[1:, None]).sum() for scores, a in zip(whole, targets.tokens, strict=True)]
    return torch.allclose(packed, torch.stack(expected).double(), rtol=0.02, atol=0.02)


def score_packed(
    language_model: PreTrainedModel,
    cache: DynamicCache,
    context_mask: torch.LongTensor,
    pair: torch.LongTensor,
    target: torch.LongTensor,
    targets: Targets,
    first: int,
    token_budget: int,
) -> torch.DoubleTensor:
    """Score the rest of targets.

    Args:
        language_model: A language model that [`can_pack`] approves of.
        cache: What was read of each pair.
        context_mask: `(pairs, length)` of the cache, 0 for padding in front.
        pair, target: `(rows,)`: the targets of pairs, those of a pair together, on the CPU.
        targets: What the rows are of.
        first: Number of the first token to score; the one before it is the first that is read.
        token_budget: Twice the tokens of answers to read at a time.

    Returns:
        `(rows,)`: summed log-probabilities of each target's tokens from number `first` on.
    """
    device = context_mask.device
    rest = (targets.lengths[target] - first).clamp(min=0)
    total = torch.zeros(len(pair), dtype=torch.float64, device=device)
    # Each token to score: its row, its number among those of the row, and its place among those of its pair.
    row = torch.arange(len(pair)).repeat_interleave(rest)
    step = torch.arange(len(row)) - (rest.cumsum(0) - rest)[row]
    counts = torch.zeros(len(context_mask), dtype=torch.long).index_add(0, pair, rest)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[pair[row]]
    layers = [layer[:2] for layer in cache]
    order = counts.argsort(descending=True, stable=True)
    order = order[counts[order] > 0]
    while len(order):
        width = int(counts[order[0]])
        size = max(1, token_budget // (2 * width))
        chosen, order = order[:size], order[size:]
        whole = len(chosen) == len(counts) and bool((chosen == torch.arange(len(counts))).all())
        index = chosen.to(device)
        mask = context_mask if whole else context_mask[index]
        past = make_cache(layers if whole else [(keys[index], values[index]) for keys, values in layers])
        position = torch.full((len(counts),), -1).index_put((chosen,), torch.arange(len(chosen)))
        here = (position[pair[row]] >= 0).nonzero().flatten()
        at = position[pair[row[here]]].to(device), place[here].to(device)
        columns = targets.tokens[target[row[here]].to(device)]
        steps = step[here].to(device)
        shape = (len(chosen), width)
        inputs, labels = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        inputs[at] = columns.gather(1, (first - 1 + steps)[:, None]).squeeze(1)
        labels[at] = columns.gather(1, (first + steps)[:, None]).squeeze(1)
        answer = torch.full(shape, -1, device=device)  # which answer a place belongs to; -1 for padding
        answer[at] = row[here].to(device)
        offset = torch.zeros(shape, dtype=torch.long, device=device)
        offset[at] = steps
        words = language_model.get_input_embeddings()(inputs)
        logits = read_on(
            language_model,
            words,
            _make_mask(mask, answer, words.dtype),
            past,
            width,
            mask.sum(1, keepdim=True) + offset,
        )
        values = get_log_probabilities(logits, labels)
        total = total.index_add(0, row[here].to(device), values[at].double())
    return total


def _make_mask(context_mask: torch.LongTensor, answer: torch.LongTensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention, `(pairs, 1, width, length + width)`: a token sees the context and its own answer so far."""
    width = answer.shape[1]
    own = answer[:, :, None] == answer[:, None, :]
    own &= torch.ones(width, width, dtype=torch.bool, device=answer.device).tril()
    context = context_mask.bool()[:, None, :].expand(-1, width, -1)
    seen = torch.cat([context, own], dim=2)[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
