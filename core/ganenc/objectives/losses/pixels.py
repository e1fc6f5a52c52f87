"""MSE and COS: losses on the pixels themselves (paper, Equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ganenc.images import convert_range
from ganenc.objectives.losses.base import Loss, precise

__all__ = ["COS", "MSE", "cosine_distance"]

_EPSILON = 1e-8


class MSE(Loss):
    """Mean square difference of the pixels of a sample (Equation 3).

    Taken on the scale from -1 to 1 whatever ``value_range`` is, so that its weight means the same for every generator.
    """

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> Tensor:
        """The target on the scale from -1 to 1."""
        return convert_range(precise(target_view.detach()), self.value_range, (-1.0, 1.0))

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        """The mean square, (N,)."""
        images = convert_range(precise(view), self.value_range, (-1.0, 1.0))
        return (images - reference).square().mean((1, 2, 3))


class COS(Loss):
    """1 - cosine of the angle between two images taken as vectors, sample by sample (Equation 3).

    Taken on the scale from -1 to 1 whatever ``value_range`` is. (The published code flattens the whole batch into one
    vector, which lets the samples weigh on one another.)
    """

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> tuple[Tensor, Tensor]:
        """The target on the scale from -1 to 1, and its length (N,)."""
        target = convert_range(precise(target_view.detach()), self.value_range, (-1.0, 1.0))
        return target, _length(target)

    def forward(self, view: Tensor, reference: tuple[Tensor, Tensor]) -> Tensor:
        """1 - cosine, (N,), from 0 to 2."""
        images = convert_range(precise(view), self.value_range, (-1.0, 1.0))
        return _one_minus_cosine(images, *reference)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of the angle between the samples of two batches, each sample taken as one vector.

    Args:
        a: (N, ...).
        b: of the same shape; the gradient goes to both.

    Returns:
        (N,), from 0 to 2.
    """
    return _one_minus_cosine(precise(a), precise(b), _length(precise(b)))


def _one_minus_cosine(a: Tensor, b: Tensor, b_length: Tensor) -> Tensor:
    lengths = _length(a) * b_length
    cosine: Tensor = (a * b).sum(_dimensions(a)) / lengths.clamp_min(_EPSILON)
    return 1.0 - cosine


def _length(x: Tensor) -> Tensor:
    """The length of each sample (N,), whatever the layout in memory: nothing is copied into one row."""
    length: Tensor = torch.linalg.vector_norm(x, dim=_dimensions(x))
    return length


def _dimensions(x: Tensor) -> tuple[int, ...]:
    """All but the sample's."""
    return tuple(range(1, x.ndim))
