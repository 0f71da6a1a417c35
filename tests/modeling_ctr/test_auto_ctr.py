"""Loading a CTR model without knowing its kind."""

import pytest

from modeling_ctr import CTRForCausalLM, CTRForConditionalGeneration, get_model_class, load_model


def test_both_kinds(tiny_ctr_model, tiny_causal_model, tmp_path):
    for make, model_class in ((tiny_ctr_model, CTRForConditionalGeneration), (tiny_causal_model, CTRForCausalLM)):
        model = make()
        assert get_model_class(model.config) is get_model_class(model.backbone.config) is model_class
        model.save_pretrained(tmp_path / model_class.__name__)
        loaded = load_model(tmp_path / model_class.__name__, dtype="bfloat16")
        assert type(loaded) is model_class and loaded.dtype.itemsize == 2


def test_what_is_no_ctr_model(tiny_causal_model, tmp_path):
    with pytest.raises(OSError, match="There is no folder|nothing on the Hub|Loading 'no/such-model' failed"):
        load_model("no/such-model")
    tiny_causal_model().backbone.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config of a 'llama' model, not of a CTR model"):
        load_model(tmp_path)
