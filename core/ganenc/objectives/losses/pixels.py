"""MSE and COS: losses on the pixels themselves, on the scale from -1 to 1 (paper, Equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ganenc.objectives.losses.base import Loss, precise


class _Pixels(Loss):
    pixelwise = True

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> Tensor:
        """The target on the scale from -1 to 1."""
        return self.scaled(target_view.detach())


class MSE(_Pixels):
    """Mean square difference of the pixels of a sample (Equation 3)."""

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        """The mean square, (N,)."""
        return (self.scaled(view) - reference).square().mean((1, 2, 3))


class COS(_Pixels):
    """1 - cosine of the angle between two images taken as vectors, sample by sample (Equation 3).

    The published code flattens the whole batch into one vector, which lets the samples weigh on one another.
    """

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        """1 - cosine, (N,), from 0 to 2."""
        return cosine_distance(self.scaled(view), reference)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of the angle between the samples of two batches (N, ...), each taken as one vector: (N,)."""
    return 1.0 - F.cosine_similarity(precise(a).flatten(1), precise(b).flatten(1))
