"""Whether a decoder-only language model is one that prompt vectors can be put into: tried out, not looked up."""

import inspect

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .joined_inputs import get_position_ids

TEXT_LENGTH = 6


def takes_argument(language_model: PreTrainedModel, name: str) -> bool:
    """Tell whether the language model's `forward` names an argument, such as `position_ids` (ALiBi families do not)."""
    return name in inspect.signature(language_model.forward).parameters


@torch.no_grad()
def check_causal_backbone(language_model: PreTrainedModel) -> None:
    """Run a decoder-only language model on a few tokens, and see that vectors in place of words do what they should.

    Raises:
        ValueError: It needs token ids, or treats vectors otherwise; it goes by a text's place in the batch, so that
            padding changes results; or it keeps something else than keys and values of the text before.
    """
    training = language_model.training
    language_model.eval()
    try:
        reason = _find_fault(language_model)
    finally:
        language_model.train(training)
    if reason is not None:
        raise ValueError(
            f"A task codebook cannot be put on a '{language_model.config.model_type}' language model: {reason}. "
            "Choose another one, such as a Llama, Qwen, Gemma 3, Mistral or OPT."
        )


def _find_fault(language_model: PreTrainedModel) -> str | None:
    if language_model._is_stateful:
        return "it carries a state from token to token, which cannot be cut or repeated as keys and values can"
    if getattr(language_model.config.get_text_config(), "hidden_size_per_layer_input", 0):  # Gemma 3n's and 4's
        return "it looks tokens up again for every layer, by their ids, and prompt vectors have none"
    embeddings = language_model.get_input_embeddings()
    device = embeddings.weight.device if not embeddings.weight.is_meta else torch.device("cpu")  # offloaded
    vocab_size = language_model.config.get_text_config().vocab_size
    ids = torch.linspace(1, vocab_size - 1, TEXT_LENGTH, device=device).long()[None]
    words = embeddings(ids)
    # As after training, no word's vector: the mean of two, of their size.
    foreign = words + words.roll(1, 1)
    foreign = foreign * (words.norm() / foreign.norm().clamp(min=1e-6))
    try:
        by_ids = _get_last_logits(language_model, input_ids=ids)
        by_words = _get_last_logits(language_model, inputs_embeds=words)
        vectors = _get_last_logits(language_model, inputs_embeds=foreign)
        padding = torch.zeros_like(words[:, :2])
        mask = torch.ones(1, TEXT_LENGTH + 2, dtype=torch.long, device=device)
        mask[:, :2] = 0
        padded = _get_last_logits(language_model, inputs_embeds=torch.cat([padding, foreign], 1), attention_mask=mask)
    except Exception as error:  # whatever it is, the language model does not take what every call would give it
        return f"it fails on vectors in place of words ({_describe(error)})"
    if not _is_close(by_ids, by_words):
        return "it makes something else of `inputs_embeds` than of `input_ids`"
    if _is_close(vectors, by_words) or not vectors.isfinite().all():
        return "it does not look at vectors that are no word's"
    if not _is_close(padded, vectors):
        counts = "even with" if takes_argument(language_model, "position_ids") else "and it takes no"
        return f"padding on the left changes its results, {counts} `position_ids`"
    return _find_cache_fault(language_model, foreign, vectors)


def _find_cache_fault(language_model: PreTrainedModel, embeds: torch.Tensor, expected: torch.Tensor) -> str | None:
    """Read vectors `(1, length, width)` in two parts; `expected` are the logits behind all of them."""
    cache = DynamicCache(config=language_model.config)
    try:
        _get_last_logits(language_model, inputs_embeds=embeds[:, :-1], past_key_values=cache)
        continued = _get_last_logits(language_model, inputs_embeds=embeds[:, -1:], past_key_values=cache)
    except Exception as error:  # as above
        return f"it needs more than the keys and values of a text to go on behind it ({_describe(error)})"
    others = {type(layer) for layer in cache.layers} - {DynamicLayer, DynamicSlidingWindowLayer}
    if others:  # such as LFM2's convolutions: what cuts or repeats keys and values would lose it
        kept = ", ".join(sorted(kind.__name__ for kind in others))
        return f"it needs more than the keys and values of a text to go on behind it (it keeps {kept})"
    return None if _is_close(continued, expected) else "a text read in two parts, with a cache, gives other results"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _get_last_logits(
    language_model: PreTrainedModel, past_key_values=None, attention_mask=None, **text
) -> torch.Tensor:
    """Compute the logits behind a text, `(vocab_size,)`, float32."""
    (values,) = text.values()
    length = values.shape[1] + (0 if past_key_values is None else past_key_values.get_seq_length())
    if attention_mask is None:
        attention_mask = torch.ones(1, length, dtype=torch.long, device=values.device)
    if takes_argument(language_model, "position_ids"):
        text["position_ids"] = get_position_ids(attention_mask)[:, -values.shape[1] :]
    if past_key_values is not None:
        text |= {"past_key_values": past_key_values, "use_cache": True}
    return language_model(**text, attention_mask=attention_mask).logits[0, -1].float()


def _is_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two results differ by rounding alone, also in half precision or with quantized weights."""
    return bool((one - other).norm() <= 0.05 * other.norm())
