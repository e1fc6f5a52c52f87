"""What happened to a photo before we got it: masked, made small, made grey. Not in paper."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ganenc_registry.components import Component
from torch import Tensor, nn


class Operator(Component, nn.Module, ABC):
    """Applied to a reconstruction before it meets what was seen of the photo: differentiable, and each sample alone.
    ``self.context.value_range`` has the values of black and white."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) => what is seen of them, (N, C', H', W'), in their dtype and range."""
