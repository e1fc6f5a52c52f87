"""Differentiable augmentation, of a strength that adapts (Karras et al., 2020, "Training GANs with Limited Data")."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AdaptiveAugment"]


class AdaptiveAugment:
    """Shift, rotation, scale and colour, each with probability p; p follows how sure the discriminator is of photos.

    Args:
        p: the probability at the start.
        target: the mean sign of the scores of photos that p is steered to.
        speed: images after which p may have gone from 0 to 1.
    """

    def __init__(self, p: float = 0.3, *, target: float = 0.6, speed: int = 200_000) -> None:
        self.p, self.target, self.speed = p, target, speed

    def adapt(self, scores: Tensor) -> None:
        """Follow the discriminator's scores of photos (N,)."""
        step = len(scores) / self.speed
        self.p = min(max(self.p + math.copysign(step, float(scores.sign().mean()) - self.target), 0.0), 0.8)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] => the same shape, augmented; differentiable in the images."""
        return self._colour(self._geometry(images))

    def _geometry(self, x: Tensor) -> Tensor:
        n = len(x)
        angle = self._strength(n, math.pi / 10)
        scale = torch.exp2(self._strength(n, 0.2))
        shift_x, shift_y = self._strength(n, 0.2), self._strength(n, 0.2)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        theta = torch.stack([cos, -sin, shift_x, sin, cos, shift_y], dim=1).reshape(n, 2, 3).to(x)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)

    def _colour(self, x: Tensor) -> Tensor:
        n = len(x)
        brightness, contrast, saturation = (
            value.to(x).reshape(n, 1, 1, 1)
            for value in (
                self._strength(n, 0.2),
                torch.exp2(self._strength(n, 0.5)),
                torch.exp2(self._strength(n, 0.5)),
            )
        )
        x = (x + brightness) * contrast
        grey = x.mean(1, keepdim=True)
        return grey + (x - grey) * saturation

    def _strength(self, n: int, deviation: float) -> Tensor:
        """Normal draws (n,), zero with probability 1 - p."""
        return torch.randn(n) * deviation * (torch.rand(n) < self.p)
