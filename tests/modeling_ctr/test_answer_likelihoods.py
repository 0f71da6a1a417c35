from transformers import T5Config, T5ForConditionalGeneration

from modeling_ctr.answer_likelihoods import get_decoder_start_token


def test_decoding_starts_with_padding_where_a_t5_config_does_not_say():
    config = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=20, pad_token_id=3)
    assert getattr(config, "decoder_start_token_id", None) is None
    assert get_decoder_start_token(T5ForConditionalGeneration(config)) == 3
    config.decoder_start_token_id = 5
    assert get_decoder_start_token(T5ForConditionalGeneration(config)) == 5
