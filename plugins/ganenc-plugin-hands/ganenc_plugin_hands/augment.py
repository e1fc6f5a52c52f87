"""Differentiable augmentation, of a strength that adapts (Karras et al., 2020, "Training GANs with Limited Data")."""

from __future__ import annotations

import math
from typing import Any

import kornia.augmentation as K
import torch
from kornia.augmentation.random_generator import PlainUniformGenerator
from torch import Tensor

__all__ = ["AdaptiveAugment"]


class AdaptiveAugment:
    """Shift, rotation and scale, and each of brightness, contrast and saturation, with probability p.

    p follows how sure the discriminator is of photos. Nothing is clamped, so that a gradient passes everywhere.

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
        """(N, 3, H, W) in [-1, 1] => the same shape, augmented; differentiable in the images."""
        return self._colour(self._geometry(images))

    def _geometry(self, images: Tensor) -> Tensor:
        moved: Tensor = K.RandomAffine(30.0, (0.17, 0.17), (0.79, 1.27), padding_mode="reflection", p=self.p)(images)
        return moved

    def _colour(self, images: Tensor) -> Tensor:
        painted: Tensor = K.ImageSequential(
            K.RandomBrightness((0.65, 1.35), clip_output=False, p=self.p),
            K.RandomContrast((0.5, 1.8), clip_output=False, p=self.p),  # Grey is 0, and stays.
            _Saturation(0.5, 1.8, p=self.p),
        )(images)
        return painted


class _Saturation(K.IntensityAugmentationBase2D):  # type: ignore[misc]
    """Distance from grey, times a factor. kornia's own clamps images to those from 0 to 1."""

    def __init__(self, least: float, most: float, *, p: float) -> None:
        super().__init__(p=p)
        self._param_generator = PlainUniformGenerator((torch.tensor([least, most]), "factor", None, None))

    def apply_transform(self, input: Tensor, params: Any, flags: Any, transform: Any = None) -> Tensor:
        """(N, 3, H, W) => the same shape."""
        grey = input.mean(1, keepdim=True)
        return grey + (input - grey) * params["factor"].to(input).reshape(-1, 1, 1, 1)
