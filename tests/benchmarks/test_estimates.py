"""The estimates are those of real models, where these are small enough to make."""

from pathlib import Path

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def estimates(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import estimates
    import t5_shapes

    monkeypatch.setitem(t5_shapes.SHAPES, "tiny", (32, 8, 64, 2, 4))
    return estimates


@pytest.mark.parametrize("stage", [1, 2])
def test_fake_models_need_what_real_ones_need(estimates, stage):
    fake, real = (vars(estimates.estimate("tiny", stage, 20, 4, fake=fake)) for fake in (True, False))
    assert fake == pytest.approx(real, rel=0.01)


def test_bytes_and_operations_of_the_stages(estimates):
    first, second = (estimates.estimate("tiny", stage, 20, 4) for stage in (1, 2))
    backbone = sum(p.numel() for p in estimates.build("tiny", 1).backbone.parameters())
    codebook = first.parameters - backbone
    assert first.states == 2 * backbone + 16 * codebook
    assert second.states == 16 * second.parameters
    assert second.flops / first.flops == 6 / 4  # for a weight and a token, where it is trained
    longer = estimates.estimate("tiny", 2, 40, 8)
    assert longer.activations > 1.8 * second.activations


def test_published_sizes(estimates):
    with FakeTensorMode():
        backbone = estimates.build("large", 1).backbone
    assert sum(p.numel() for p in backbone.parameters()) == 783_150_080  # T5 v1.1 large
