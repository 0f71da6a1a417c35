"""A plain language model whose word embedding has prompt vectors in extra rows."""

import copy
import math

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from modeling_ctr import CTRPreTrainedModel

# Added to the logits of new tokens where the language model has a bias there (BART): no probability is left for them.
NEVER = -1e4


def make_plain_model(model: CTRPreTrainedModel, vectors: torch.Tensor, spare_row: int) -> PreTrainedModel:
    """Make the language model of a CTR model into one that has `vectors` as the embeddings of new tokens.

    The rows that it has stay as they are, and the new ones come behind them. Its head grows by as many: a tied one is the
    embedding, an untied one repeats the row of a token that is never a target. Generation suppresses the new tokens.

    Args:
        model: CTR model; its language model's dtype is kept, and its generation config copied.
        vectors: `(number of new tokens, width)`, any float dtype: what the encoder must see in their place.
        spare_row: Token that is never a target.
    """
    backbone = model.backbone
    embeddings, head = backbone.get_input_embeddings(), backbone.get_output_embeddings()
    num_rows = embeddings.num_embeddings
    rows = (vectors.detach() / get_embedding_scale(backbone)).to(embeddings.weight)
    spare = head.weight.detach()[spare_row].expand(len(rows), -1)
    grown = {
        table.weight.data_ptr(): torch.cat([table.weight.detach(), spare])
        for table in (_decoder_table(backbone), head)
    }
    # Last: a tied head is this one.
    grown[embeddings.weight.data_ptr()] = torch.cat([embeddings.weight.detach(), rows])
    state = {name: grown.get(tensor.data_ptr(), tensor) for name, tensor in backbone.state_dict().items()}
    bias = state.get("final_logits_bias")
    if bias is not None:
        state["final_logits_bias"] = torch.cat([bias, bias.new_full((1, len(rows)), NEVER)], dim=1)
    config = copy.deepcopy(backbone.config)
    _set_vocab_size(config, num_rows, num_rows + len(rows))
    plain = type(backbone).from_pretrained(None, config=config, state_dict=state, dtype=embeddings.weight.dtype)
    plain.generation_config = copy.deepcopy(model.generation_config)
    new_tokens = list(range(num_rows, num_rows + len(rows)))
    plain.generation_config.suppress_tokens = [*(plain.generation_config.suppress_tokens or []), *new_tokens]
    if bias is None:
        # Beams are scored before tokens are suppressed; without their share they have the scores of the old vocabulary.
        plain.generation_config.renormalize_logits = True
    return plain.to(embeddings.weight.device).eval()


def _set_vocab_size(config: PreTrainedConfig, old: int, new: int) -> None:
    """Set the size of the vocabulary wherever a config, or one within it, has it."""
    if getattr(config, "vocab_size", None) == old:
        config.vocab_size = new
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            _set_vocab_size(getattr(config, name), old, new)


def _decoder_table(backbone: PreTrainedModel) -> torch.nn.Embedding:
    """The decoder's word embedding, which some encoder-decoders (T5Gemma) have apart from the encoder's."""
    decoder = backbone.get_decoder() if backbone.config.is_encoder_decoder else backbone
    return decoder.get_input_embeddings()


def get_embedding_scale(backbone: PreTrainedModel) -> float:
    """Return what rows of the word embedding are multiplied by, within it (BART, Gemma) or behind it (Pegasus); else 1."""
    encoder = backbone.get_encoder() if backbone.config.is_encoder_decoder else None
    scales = (getattr(module, "embed_scale", 1.0) for module in (backbone.get_input_embeddings(), encoder))
    return math.prod(map(float, scales))
