"""The checkpoint that the app's tests share."""

import pytest

from playground.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def checkpoint(tiny_ctr_model, tiny_tokenizer):
    return Checkpoint(tiny_ctr_model(), tiny_tokenizer, "tiny")
