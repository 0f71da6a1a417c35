"""Which decoder-only language models can be given prompt vectors: found out by trying."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BartConfig, BartForCausalLM

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


def test_decoders_that_count_padding_are_refused_when_a_codebook_is_put_on_them(tmp_path):
    config = BartConfig(
        vocab_size=64, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, init_std=0.5,
        max_position_embeddings=64, is_encoder_decoder=False, is_decoder=True, pad_token_id=0,
    )  # fmt: skip
    BartForCausalLM(config).save_pretrained(tmp_path)
    message = "cannot be put on a 'bart' language model: padding on the left changes its results"
    with pytest.raises(ValueError, match=message):
        CTRForCausalLM.from_backbone(tmp_path, num_tasks=2)


def test_models_with_a_state_are_refused():
    config = AutoConfig.for_model("mamba", vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ValueError, match="'mamba' language model: it carries a state"):
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
