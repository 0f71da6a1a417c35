"""Very small models, of every supported family where a test asks for `kind` or `model`."""

import pytest


@pytest.fixture(params=["t5", "t5-v1.1", "mt5", "umt5", "bart"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(kind, tiny_ctr_model):
    return tiny_ctr_model(kind)


@pytest.fixture
def t5(tiny_ctr_model):
    return tiny_ctr_model("t5")
