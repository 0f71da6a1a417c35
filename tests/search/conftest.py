"""Tiny real models and examples for the searches, and the recorded runs of the original."""

import json
import random

import pytest
import torch
from transformers import BartConfig, T5Config

from modeling_ctr import CTRConfig, CTRForConditionalGeneration

EOS = 1


def make_model(text_config=None, seed=0, **kwargs):
    """A random CTR model of 7 tasks whose codes make a clear difference."""
    torch.manual_seed(seed)
    if text_config is None:
        text_config = T5Config(
            vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=1, num_heads=2,
            dropout_rate=0.1, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
        )  # fmt: skip
    config = CTRConfig(text_config=text_config, num_tasks=7, code_length=3, codebook_size=12, **kwargs)
    model = CTRForConditionalGeneration(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def bart_config(**fields):
    return BartConfig(
        vocab_size=64, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        decoder_start_token_id=2, pad_token_id=0, bos_token_id=2, eos_token_id=EOS, forced_eos_token_id=None,
        **fields,
    )  # fmt: skip


def make_examples(count=9, seed=0, max_choices=4, labelled=True):
    """Inputs of 2 to 20 tokens; 2 to 4 choices of 1 to 5 tokens, one of them twice in the first example."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.randrange(2, 64) for _ in range(draw.randrange(1, 20))]
        choices = [
            [*(draw.randrange(2, 64) for _ in range(draw.randrange(0, 5))), EOS]
            for _ in range(draw.randint(2, max_choices))
        ]
        answer = draw.randrange(len(choices)) if labelled else -1
        rows.append({"input_ids": [*words, EOS], "choice_ids": choices, "answer": answer})
        if labelled:
            rows[-1]["labels"] = choices[answer]
    rows[0]["choice_ids"] = [[5, 6, EOS], [7, EOS], [5, 6, EOS]]
    if labelled:
        rows[0].update(answer=2, labels=[5, 6, EOS])
    return rows


def full_code_space(code_length, codebook_size):
    """Every value at every position."""
    return [list(range(codebook_size)) for _ in range(code_length)]


@pytest.fixture
def model():
    return make_model().eval()


@pytest.fixture
def examples():
    return make_examples()


@pytest.fixture
def codes():
    return torch.randint(0, 12, (6, 3), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def reference_model(shared):
    from modeling_ctr.convert_original_checkpoint import load_original_checkpoint

    return load_original_checkpoint(shared / "reference" / "original_tiny")


@pytest.fixture(scope="session")
def bitwise_reference(shared):
    return json.loads((shared / "reference" / "bitwise_search.json").read_text())


@pytest.fixture(scope="session")
def discrete_reference(shared):
    return json.loads((shared / "reference" / "discrete_search.json").read_text())


@pytest.fixture(scope="session")
def reference_examples(discrete_reference):
    """The recorded examples as ours: the padded arrays without their padding."""
    data = discrete_reference["examples"]
    return [
        {
            "input_ids": [token for token, real in zip(ids, mask, strict=True) if real],
            "labels": [token for token, real in zip(target, loss_mask, strict=True) if real],
            "choice_ids": [[*choice, data["eos_id"]] for choice in data["choice_token_ids"]],
            "answer": answer,
        }
        for ids, mask, target, loss_mask, answer in zip(
            data["input_ids"],
            data["attention_mask"],
            data["target"],
            data["loss_mask"],
            data["labels"],
            strict=True,
        )
    ]
