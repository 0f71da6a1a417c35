import time

import pytest
import torch
from torch import nn

from search import examples_fingerprint, model_fingerprint
from search.scoring import fingerprints

from ..conftest import make_model


def test_a_change_of_any_single_weight_is_noticed(monkeypatch):
    monkeypatch.setattr(fingerprints, "WORDS", 16)  # several sums to a tensor, whole and in part
    model = make_model()
    expected, seen = model_fingerprint(model), set()
    weight = model.backbone.shared.weight
    for index in range(0, weight.numel(), 7):
        value = weight.data.view(-1)[index].item()
        weight.data.view(-1)[index] = value + 1e-6
        seen.add(model_fingerprint(model))
        weight.data.view(-1)[index] = value
    assert expected not in seen and len(seen) == len(range(0, weight.numel(), 7))
    assert model_fingerprint(model) == expected


class Holder(nn.Module):
    """A module with one parameter."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(values, requires_grad=values.is_floating_point())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
@pytest.mark.parametrize("count", [0, 1, 7, 65536, 65537])
def test_all_sizes_and_types(dtype, count):
    values = torch.arange(count).to(dtype)
    digest = model_fingerprint(Holder(values.clone()))
    assert model_fingerprint(Holder(values.clone())) == digest
    if count > 1:
        assert model_fingerprint(Holder(values.flip(0))) != digest  # the same words in another order
        values[-1] = 77
        assert model_fingerprint(Holder(values)) != digest
    assert model_fingerprint(Holder(values.clone()[None])) != digest  # another shape


def test_how_a_tensor_lies_in_memory_does_not_matter():
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert model_fingerprint(Holder(values.T.contiguous().T)) == model_fingerprint(Holder(values))


def test_the_digest_is_the_same_everywhere():
    """Recorded: a digest that another version or machine computed otherwise would make it search anew."""
    assert model_fingerprint(Holder(torch.arange(100_000, dtype=torch.float32))) == "8ede906165e2636ea160e87325622a73"


def test_it_takes_a_gigabyte_a_second():
    model = Holder(torch.ones(10_000_000))
    start = time.process_time()
    model_fingerprint(model)
    assert time.process_time() - start < 1  # 0.04 s were measured; the first try of a faulty one took minutes


def test_rows():
    rows = [{"input_ids": [1, 2], "answer": 0}]
    assert examples_fingerprint(rows) == examples_fingerprint([{"answer": 0, "input_ids": [1, 2]}])
    assert examples_fingerprint(rows) != examples_fingerprint([{"input_ids": [1, 2], "answer": 1}])
