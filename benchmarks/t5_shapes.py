"""The sizes of language models that the benchmarks make with random weights."""

from typing import Any

from transformers import T5Config

# d_model, d_kv, d_ff, layers, heads; all but the first are the published T5 v1.1 (LM-adapted) sizes.
SHAPES = {
    "tiny": (64, 16, 128, 2, 4),
    "small": (512, 64, 1024, 8, 6),
    "base": (768, 64, 2048, 12, 12),
    "large": (1024, 64, 2816, 24, 16),
    "3b": (2048, 64, 5120, 24, 32),
    "11b": (4096, 64, 10240, 24, 64),
}


def make_t5_config(shape: str, **fields: Any) -> T5Config:
    """Make the config of a T5 v1.1.

    Args:
        shape: Key of `SHAPES`.
        fields: Fields that differ from the published ones, such as `vocab_size`.
    """
    d_model, d_kv, d_ff, layers, heads = SHAPES[shape]
    published = {"vocab_size": 32128, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    sizes = {"d_model": d_model, "d_kv": d_kv, "d_ff": d_ff, "num_layers": layers, "num_heads": heads}
    return T5Config(**sizes, **(published | {"decoder_start_token_id": 0} | fields))
