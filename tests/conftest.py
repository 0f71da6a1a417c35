"""What all tests share: offline settings and the folder of recorded reference values."""

import copy
import os
import sys

# Read when the libraries are imported, so set before anything else is.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"  # recorded values and real data, not part of the project


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared folder with the reference material beside this repository")
    return SHARED


@pytest.fixture
def own_remote_code(tmp_path_factory, monkeypatch):
    """Code of checkpoints is copied to a folder of this test's own, and imported from there alone."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
            del sys.modules[name]

    folder = str(tmp_path_factory.mktemp("modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", folder)
    monkeypatch.syspath_prepend(folder)
    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def assert_close_in_norm():
    """`assert_close_in_norm(actual, expected, tolerance, what)`: tensors that differ by rounding alone.

    Kernels of different processors round otherwise, by a share of the terms that they sum up and not of what comes out,
    so that a tensor's difference is compared with the tensor's own size.
    """

    def check(actual, expected, tolerance: float, what: str = "") -> None:
        assert actual.shape == expected.shape, what
        difference, size = (actual - expected).norm(), expected.norm()
        assert difference <= tolerance * size, f"{what}: {float(difference):.3g} beside a size of {float(size):.3g}"

    return check


@pytest.fixture(scope="session")
def tiny_t5_config():
    """`tiny_t5_config(kind="t5", **fields)`: the config of a very small language model, without dropout.

    `kind` is one of "t5" (v1.0), "t5-v1.1", "mt5", "umt5", "bart", "pegasus", "longt5", "t5gemma" and
    "t5gemma2".
    """
    import transformers
    from packaging.version import Version
    from transformers import AutoConfig, BartConfig, MT5Config, PegasusConfig, T5Config, UMT5Config

    def t5gemma_fields(kind: str) -> dict:
        tokens = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
        dropout = {"dropout_rate": 0.0, "attention_dropout": 0.0}
        part = tokens | dropout | {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
        part |= {"num_attention_heads": 2, "num_key_value_heads": 1, "query_pre_attn_scalar": 8}
        part |= {"sliding_window": 6, "initializer_range": 0.3}
        if kind == "t5gemma":
            return tokens | dropout | {"encoder": part, "decoder": part | {"cross_attention_hidden_size": 16}}
        vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 32, "image_size": 28}
        vision |= {"num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
        encoder = {"text_config": part, "vision_config": vision, "mm_tokens_per_image": 4, "vocab_size": 64}
        return tokens | dropout | {"encoder": encoder, "decoder": part, "image_token_index": 63}

    def build(kind: str = "t5", **fields):
        if kind == "umt5" and Version(transformers.__version__) < Version("5.18"):
            pytest.skip("UMT5's decoder is not causal in transformers 5.17, so the model refuses it there")
        if kind in ("bart", "pegasus"):
            defaults = {
                "vocab_size": 64,
                "d_model": 16,
                "encoder_layers": 2,
                "decoder_layers": 2,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32,
                "max_position_embeddings": 64,
                "dropout": 0.0,
                "scale_embedding": True,
                "init_std": 0.5,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "bos_token_id": 2,
                "decoder_start_token_id": 1,
                "forced_eos_token_id": 1,
            }
            return {"bart": BartConfig, "pegasus": PegasusConfig}[kind](**(defaults | fields))
        if kind in ("t5gemma", "t5gemma2"):
            return AutoConfig.for_model(kind, **(t5gemma_fields(kind) | fields))
        defaults = {
            "vocab_size": 64,
            "d_model": 16,
            "d_kv": 4,
            "d_ff": 32,
            "num_layers": 2,
            "num_heads": 2,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 16,
            "dropout_rate": 0.0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
            "initializer_factor": 1.5,
        }
        if kind == "longt5":
            blocks = {"encoder_attention_type": "transient-global", "local_radius": 4, "global_block_size": 4}
            return AutoConfig.for_model(kind, **(defaults | blocks | fields))
        if kind == "t5-v1.1":
            defaults |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        return {"t5": T5Config, "t5-v1.1": T5Config, "mt5": MT5Config, "umt5": UMT5Config}[kind](**(defaults | fields))

    return build


@pytest.fixture(scope="session")
def tiny_ctr_model(tiny_t5_config):
    """`tiny_ctr_model(kind="t5", seed=0, text_fields=None, **ctr_fields)`: a very small random model in `eval()`.

    Three tasks with four integers in 0..7 each. As in the released models, the head of "t5-v1.1", "mt5" and "umt5" is
    untied. Weights are large enough for every detail of the input to show in the output; generate with
    `no_repeat_ngram_size=1`, since a tied head would otherwise mostly repeat its input.
    """
    import torch

    from modeling_ctr import CTRConfig, CTRForConditionalGeneration

    def build(kind: str = "t5", seed: int = 0, text_fields: dict | None = None, **ctr_fields):
        torch.manual_seed(seed)
        defaults = {
            "task_names": ["glue_mrpc", "glue_qqp", "ag_news"],
            "code_length": 4,
            "codebook_size": 8,
            "task_embedding_dim": 10,
            "code_dim": 12,
        }
        if "num_tasks" in ctr_fields:
            del defaults["task_names"]
        config = CTRConfig(text_config=tiny_t5_config(kind, **(text_fields or {})), **(defaults | ctr_fields))
        model = CTRForConditionalGeneration(config)
        # As after training: queries and code vectors of one size, so that tasks get different codes.
        with torch.no_grad():
            model.task_codebook.position_maps.weight.normal_(std=0.3)
            model.task_codebook.code_vectors.weight.normal_()
            model.task_codebook.prompt_decoder.weight.normal_()
        if kind in ("t5-v1.1", "mt5", "umt5"):
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny_causal_config():
    """`tiny_causal_config(kind="llama", **fields)`: the config of a very small decoder-only model, without dropout.

    `kind` is a model type of transformers, such as "llama", "gemma3_text" or "gpt2".
    """
    from transformers import AutoConfig

    tokens = {"vocab_size": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    newer = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    heads = {"hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    of_kind = {
        "gemma2": newer | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6},
        "gemma3_text": newer | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6},
        "qwen3": newer | {"head_dim": 8},
        "mistral": newer | {"sliding_window": 6},
        "gpt_neox": {name: value for name, value in newer.items() if name != "num_key_value_heads"},
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
        | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        "opt": {
            **{"hidden_size": 16, "word_embed_proj_dim": 8, "ffn_dim": 32, "num_hidden_layers": 2, "init_std": 0.3},
            **{"num_attention_heads": 2, "max_position_embeddings": 64, "dropout": 0.0},
        },
        "bloom": heads,
        "falcon": heads | {"num_hidden_layers": 2, "num_attention_heads": 2},
    }

    def build(kind: str = "llama", **fields):
        return AutoConfig.for_model(kind, **(of_kind.get(kind, newer) | tokens | fields))

    return build


@pytest.fixture(scope="session")
def tiny_causal_model(tiny_causal_config):
    """`tiny_causal_model(kind="llama", seed=0, text_fields=None, **ctr_fields)`: a very small model in `eval()`.

    As `tiny_ctr_model`: three tasks with four integers in 0..7 each, and weights large enough to show in the output.
    """
    import torch

    from modeling_ctr import CTRConfig, CTRForCausalLM

    def build(kind: str = "llama", seed: int = 0, text_fields: dict | None = None, **ctr_fields):
        torch.manual_seed(seed)
        defaults = {
            "task_names": ["glue_mrpc", "glue_qqp", "ag_news"],
            "code_length": 4,
            "codebook_size": 8,
            "task_embedding_dim": 10,
            "code_dim": 12,
        }
        config = CTRConfig(text_config=tiny_causal_config(kind, **(text_fields or {})), **(defaults | ctr_fields))
        model = CTRForCausalLM(config)
        with torch.no_grad():  # as after training: queries and code vectors of one size, so that codes differ
            model.task_codebook.position_maps.weight.normal_(std=0.3)
            model.task_codebook.code_vectors.weight.normal_()
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny_batch():
    """`tiny_batch(model)`: three right-padded inputs of three tasks, with labels; arguments of `model(...)`."""
    import torch

    def build(model, seed: int = 0) -> dict:
        generator = torch.Generator().manual_seed(seed)
        vocab_size = model.config.text_config.vocab_size
        input_ids = torch.randint(3, vocab_size, (3, 9), generator=generator)
        labels = torch.randint(3, vocab_size, (3, 5), generator=generator)
        attention_mask = torch.ones_like(input_ids)
        for row, (source, target) in enumerate(((9, 5), (6, 3), (4, 4))):
            input_ids[row, source - 1], labels[row, target - 1] = 1, 1
            input_ids[row, source:], attention_mask[row, source:], labels[row, target:] = 0, 0, -100
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "task_id": torch.tensor([2, 0, 1]),
            "labels": labels,
        }

    return build


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A tokenizer of the tiny models' 64 words, `w3` to `w63`; anything else is unknown, and texts end in `</s>`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, 64)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


@pytest.fixture(scope="session")
def tiny_causal_tokenizer(tiny_tokenizer):
    """The same words, as most decoder-only models take them: without an end behind a text or a padding token."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.pad_token = None
    return tokenizer
