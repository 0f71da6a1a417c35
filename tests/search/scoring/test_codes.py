import pytest
import torch

from search import get_code_space, task_code_space


def test_distinct_values_of_each_position_ascending():
    codes = torch.tensor([[99, 1], [102, 1], [8, 0], [7, 1], [99, 5]])
    assert get_code_space(codes) == [[7, 8, 99, 102], [0, 1, 5]]


def test_the_recorded_space(bitwise_reference):
    codes = torch.tensor(list(bitwise_reference["task_codes"].values()))
    assert get_code_space(codes) == [sorted(values) for values in bitwise_reference["valid_code_space"]]


def test_the_order_which_the_original_meant(bitwise_reference):
    recorded = bitwise_reference["valid_code_space_order_example"]
    import json

    codes = torch.tensor([json.loads(code) for code in recorded["codebook"].values()])
    assert get_code_space(codes) == [sorted(values) for values in recorded["valid_code_space"]]


def test_of_a_model(model):
    space = task_code_space(model)
    assert space == get_code_space(model.task_codes())
    assert len(space) == 3


@pytest.mark.parametrize("codes", [torch.empty(0, 3, dtype=torch.long), torch.tensor([1, 2]), torch.rand(2, 3)])
def test_no_matrix_of_integers(codes):
    with pytest.raises(ValueError, match="Codes must"):
        get_code_space(codes)
