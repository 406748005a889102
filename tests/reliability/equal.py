"""Whether two states are one and the same."""

from typing import Any

import torch


def equal(one: Any, other: Any) -> bool:
    """Whether trees of dicts, lists, tensors and values are the same, to the last bit and by type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(
            *(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other))
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex()  # NaN is itself, and there are two zeros
    return one == other
