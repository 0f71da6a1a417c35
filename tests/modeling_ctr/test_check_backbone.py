"""Which decoder-only language models can be given prompt vectors: found out by trying."""

import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from modeling_ctr import CTRForCausalLM
from modeling_ctr.check_backbone import check_causal_backbone


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom", "gemma3_text"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_right_passes_and_is_left_as_it_was(kind, dtype, tiny_causal_config):
    model = AutoModelForCausalLM.from_config(tiny_causal_config(kind), dtype=dtype).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_causal_backbone(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


DECODER = {
    **{"vocab_size": 64, "d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32},
    **{"init_std": 0.5, "max_position_embeddings": 64, "is_encoder_decoder": False, "is_decoder": True},
    **{"pad_token_id": 0, "decoder_start_token_id": 0},
}
TWO_KINDS = {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 8, "sliding_window": 6}
PER_LAYER = TWO_KINDS | {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 64, "num_kv_shared_layers": 0}
STATE = "it carries a state from token to token"
LOOK_UP = "it looks tokens up again for every layer, by their ids, and prompt vectors have none"
PADDING = "padding on the left changes its results, and it takes no `position_ids`"
MORE = "it needs more than the keys and values of a text to go on behind it"


UNSUITABLE = {
    "gemma4_text": (PER_LAYER | {"global_head_dim": 8}, LOOK_UP),
    "gemma3n_text": (PER_LAYER | {"laurel_rank": 4, "altup_num_inputs": 2}, LOOK_UP),
    "bart": (DECODER, PADDING),
    "marian": (DECODER, PADDING),
    "mamba": ({"state_size": 4}, STATE),
    "rwkv": ({"context_length": 32, "attention_hidden_size": 16}, STATE),
    "jamba": ({"mamba_d_state": 4, "mamba_dt_rank": 2, "attn_layer_period": 2, "attn_layer_offset": 1}, STATE),
    "recurrent_gemma": ({"block_types": ["recurrent", "attention"], "attention_window_size": 6}, STATE),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, MORE),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_what_a_codebook_cannot_be_put_on_is_refused_with_its_reason(kind, tiny_causal_config, tmp_path):
    fields, reason = UNSUITABLE[kind]
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny_causal_config(kind, **fields)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"cannot be put on a '{kind}' language model: {reason}")):
        CTRForCausalLM.from_backbone(tmp_path, num_tasks=2)


def test_a_gemma_4_without_inputs_per_layer_passes(tiny_causal_config):
    config = tiny_causal_config("gemma4_text", **PER_LAYER | {"hidden_size_per_layer_input": 0, "global_head_dim": 8})
    check_causal_backbone(AutoModelForCausalLM.from_config(config))


def test_models_that_treat_vectors_otherwise_are_refused(tiny_causal_config, monkeypatch):
    model = AutoModelForCausalLM.from_config(tiny_causal_config())
    forward = type(model).forward

    def ignoring(self, input_ids=None, attention_mask=None, position_ids=None, inputs_embeds=None, **kwargs):
        scale = 1 if inputs_embeds is None else 0.5
        output = forward(self, input_ids, attention_mask, position_ids, inputs_embeds=inputs_embeds, **kwargs)
        output.logits = output.logits * scale
        return output

    monkeypatch.setattr(type(model), "forward", ignoring)
    with pytest.raises(ValueError, match="something else of `inputs_embeds` than of `input_ids`"):
        check_causal_backbone(model)

    def refusing(self, input_ids=None, attention_mask=None, position_ids=None, inputs_embeds=None, **kwargs):
        if inputs_embeds is not None:
            raise IndexError("no such word")
        return forward(self, input_ids, attention_mask, position_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", refusing)
    with pytest.raises(ValueError, match=r"fails on vectors in place of words \(IndexError: no such word\)"):
        check_causal_backbone(model)
