"""What "the same" means between floats computed in two ways. Tests import it as ``rounding``.

The same call on the same tensors gives the same bits. Another batch size, memory layout, number of threads or
processor adds the same terms in another order: a sum of n terms is then off by about sqrt(n) roundings of its size,
and as much again at each of the sums that follow one another.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MARGIN", "close", "tolerance"]

MARGIN = 10
"""How many times the expected error is allowed."""


def tolerance(dtype: torch.dtype, *, terms: int = 1, depth: int = 1) -> float:
    """How far two results may be apart, as a share of the largest value.

    Args:
        dtype: in which the sums are made.
        terms: of the longest sum, such as channels x 3 x 3 of a convolution.
        depth: how many sums follow one another, gradients' own and steps of an optimiser among them.
    """
    return MARGIN * torch.finfo(dtype).eps * depth * terms**0.5


def close(found: Tensor, wanted: Tensor, *, terms: int = 1, depth: int = 1) -> None:
    """Assert that two results (of one shape and dtype) differ by rounding at most: see :func:`tolerance`."""
    assert found.dtype == wanted.dtype
    allowed = tolerance(found.dtype, terms=terms, depth=depth) * float(wanted.detach().abs().max())
    torch.testing.assert_close(found, wanted, atol=allowed, rtol=0)
