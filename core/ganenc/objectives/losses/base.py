"""The contract of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.images import Range

__all__ = ["LARGEST", "Loss", "pool", "precise"]

LARGEST = 256
"""The longer side, in pixels, that LPIPS and SSIM pool images to (published code; not in the paper)."""


class Loss(nn.Module, ABC):
    """How far a view is from the same view of its target: 0 where they are equal, one number a sample.

    Views are (N, C, H, W) in ``value_range``. What the target needs is computed once, by `prepare`; `forward` is
    called at every step and lets the gradient through to the view alone. A loss has no weights that train.

    A registered loss is built with those of ``value_range=`` and ``backbone=`` (a loaded `Backbone`) that its
    constructor names.

    Args:
        value_range: the values of black and white in the images.
    """

    def __init__(self, value_range: Range = (-1.0, 1.0)) -> None:
        super().__init__()
        self.value_range: Range = (float(value_range[0]), float(value_range[1]))

    @abstractmethod
    def prepare(self, target_view: Tensor) -> Any:
        """Compute what `forward` needs of the target, without gradient.

        Args:
            target_view: (N, C, H, W).

        Returns:
            the reference: a tensor, or tuples, lists and mappings of tensors, each with the sample as its first
            dimension, so that a part of the batch can be selected.
        """

    @abstractmethod
    def forward(self, view: Tensor, reference: Any) -> Tensor:
        """Compare a view with what `prepare` returned for the same view of the target.

        Args:
            view: (N, C, H, W), of the shape that the target view had.
            reference: what `prepare` returned.

        Returns:
            (N,), float32 (float64 for float64 images).
        """


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
