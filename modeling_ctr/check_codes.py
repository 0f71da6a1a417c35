"""Whether integers are codes of a model's codebook."""

from collections.abc import Sequence

import torch


def check_codes(codes: Sequence[int] | torch.Tensor, code_length: int, codebook_size: int, what: str) -> None:
    """Raise a ValueError unless `codes` hold `code_length` integers in `[0, codebook_size)`.

    Args:
        codes: One code as a list, or a tensor `(..., code_length)` of codes. Of a tensor on an accelerator only the
            shape is checked, since reading its values would wait for it.
        code_length: Number of integers of a code (N).
        codebook_size: Number of values that each may take (C).
        what: Name of the codes, to begin the message with.

    Raises:
        ValueError: There are more or fewer integers, a value is none, or one is out of range.
    """
    is_tensor = isinstance(codes, torch.Tensor)
    if not is_tensor and not isinstance(codes, (list, tuple)):
        raise ValueError(f"{what} must be a list of {code_length} integers, but is {codes!r:.80}.")
    length = codes.shape[-1] if is_tensor else len(codes)
    if length != code_length:
        raise ValueError(f"{what} has {length} integers, but a task code of this model has {code_length}.")
    if is_tensor and (codes.device.type != "cpu" or torch.compiler.is_compiling()):
        return
    values = codes.flatten().tolist() if is_tensor else codes
    for index, value in enumerate(values):
        position = index % code_length
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{what} must hold integers, but has {value!r:.80} at position {position}.")
        if not 0 <= value < codebook_size:
            raise ValueError(
                f"{what} has the value {value} at position {position}, "
                f"but the codebook holds {codebook_size} vectors (0 to {codebook_size - 1})."
            )
