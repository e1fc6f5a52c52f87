"""The contract of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from ganenc_registry.components import Component
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.images import Range, convert_range

LARGEST = 256
"""The longer side, in pixels, that LPIPS and SSIM pool images to (published code; not in the paper)."""


class Loss(Component, nn.Module, ABC):
    """How far a view is from the same view of its target: 0 where they are equal, one number a sample.

    Views are (N, C, H, W) in ``value_range``. What the target needs is computed once, by `prepare`; `forward` is
    called at every step and lets the gradient through to the view alone. A loss has no weights that train.
    """

    pixelwise: ClassVar[bool] = False
    """Whether it compares pixel by pixel, so that it looks at large images whole and in full."""
    needs_backbone: ClassVar[bool] = False
    """Whether it asks its context for the backbone. Where none is at hand, such a loss may be left out."""

    @property
    def value_range(self) -> Range:
        """The values of black and white in the images."""
        return self.context.value_range

    @abstractmethod
    def prepare(self, target_view: Tensor) -> Any:
        """Compute what `forward` needs of the target, without gradient: a tensor, or tuples, lists and dictionaries of
        tensors, each with the sample as its first dimension, so that a part of the batch can be selected."""

    @abstractmethod
    def forward(self, view: Tensor, reference: Any) -> Tensor:
        """Compare a view with the reference of a target view of the same shape: (N,), float32 (float64 for float64)."""

    def scaled(self, images: Tensor, to: Range = (-1.0, 1.0)) -> Tensor:
        """Images in `precise` numbers on a scale that is the same for every generator, so that a weight is, too."""
        return convert_range(precise(images), self.value_range, to)


def precise(images: Tensor) -> Tensor:
    """Images in float32, or in float64 if that is what they are in: sums of half precision lose too much."""
    return images if images.dtype in (torch.float32, torch.float64) else images.float()


def pool(images: Tensor, largest: int = LARGEST) -> Tensor:
    """Average images (N, C, H, W) down until the longer side has at most ``largest`` pixels; smaller ones stay."""
    height, width = images.shape[-2:]
    longer = max(height, width)
    if longer <= largest:
        return images
    if longer % largest == 0 and min(height, width) % (longer // largest) == 0:
        return F.avg_pool2d(images, longer // largest)
    size = (max(1, round(height * largest / longer)), max(1, round(width * largest / longer)))
    return F.adaptive_avg_pool2d(images, size)
