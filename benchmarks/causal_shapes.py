"""The sizes of decoder-only language models that the benchmarks make with random weights."""

from transformers import LlamaConfig

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512},
    "small": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 8, "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 32000},
    "smollm": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
               "num_key_value_heads": 3, "vocab_size": 49152},
}  # fmt: skip


def make_llama_config(shape: str) -> LlamaConfig:
    """Make the config of a Llama with tied word vectors and no bos token; `shape` is a key of `SHAPES`."""
    return LlamaConfig(**SHAPES[shape], tie_word_embeddings=True, bos_token_id=None)
