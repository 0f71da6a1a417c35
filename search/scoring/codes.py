"""Which values each position of a task code may take in a search."""

from collections.abc import Sequence

import torch

from modeling_ctr import CTRPreTrainedModel

CodeSpace = list[list[int]]


def task_code_space(model: CTRPreTrainedModel) -> CodeSpace:
    """Get, for each position, the values that the model's training tasks use there (paper, section 3.4.2)."""
    return get_code_space(model.task_codes())


def get_code_space(codes: torch.LongTensor) -> CodeSpace:
    """Get, for each position, the distinct values in `codes` `(num_codes, code_length)`, ascending.

    The original means to sort them but drops the result, so that its order is that of a Python set.

    Raises:
        ValueError: `codes` is not a non-empty matrix of integers.
    """
    codes = check_codes(codes)
    return [sorted(set(column)) for column in codes.T.tolist()]


def check_codes(codes: torch.Tensor | Sequence[Sequence[int]]) -> torch.LongTensor:
    """Check codes, and make them a LongTensor `(num_codes, code_length)` on the CPU.

    Raises:
        ValueError: Not a matrix of integers, or no codes in it.
    """
    try:
        codes = torch.as_tensor(codes).cpu()
    except (TypeError, ValueError) as error:
        raise ValueError(f"Codes must be lists of integers of one length ({error}).") from error
    if codes.dim() != 2 or codes.numel() == 0:
        raise ValueError(
            f"Codes must have the shape (num_codes, code_length) and hold at least one, but their shape is "
            f"{tuple(codes.shape)}."
        )
    if codes.is_floating_point():
        raise ValueError(f"Codes must be integers, but their dtype is {codes.dtype}.")
    return codes.long()
