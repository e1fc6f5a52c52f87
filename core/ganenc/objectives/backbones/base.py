"""The contract of a backbone: one frozen network, one pass, features for LPIPS and logits for Grad-CAM."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from ganenc_registry.components import Component
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.images import to_rgb

LONGEST = 256
"""Pixels of the longer side, beyond which nothing is enlarged: an image of a few rows would become a huge one."""

B = TypeVar("B", bound="Backbone")


class BackboneOutput:
    """What one pass of a backbone gives: ``features`` (N, C, h, w) of each layer that LPIPS compares, and ``logits``,
    or a function that finishes the pass, called once and only if they are read."""

    def __init__(self, features: list[Tensor], logits: Tensor | Callable[[], Tensor] | None = None) -> None:
        self.features = features
        self._logits = logits

    @property
    def logits(self) -> Tensor | None:
        """The scores of the classes (N, classes), or None if the network is no classifier."""
        if self._logits is not None and not isinstance(self._logits, Tensor):
            self._logits = self._logits()
        return self._logits


class Backbone(Component, nn.Module, ABC):
    """One frozen network; once frozen it stays in eval mode, and its weights take no gradient.

    A subclass sets `name`, `classes` and `last_convolution`, implements `forward`, and may give `linear_weights`; one
    whose weights may be absent says so in `available`. `load_backbone` builds and freezes it.
    """

    name: str
    """The name under which the backbone is registered; every distance reported carries it."""
    classes: int = 0
    """The number of classes of the logits; 0 if there are none."""
    last_convolution: nn.Module | None
    """The module whose output maps (N, C, h, w) Grad-CAM weighs; None if there is none. Set by every subclass."""
    frozen: bool = False
    """Whether `freeze` was called; `load_backbone` and the losses call it."""
    smallest: int = 64
    """The shorter side, in pixels, to which smaller images are enlarged."""

    @classmethod
    def available(cls) -> bool:
        """Whether the weights are on disk, told without loading them."""
        return True

    @abstractmethod
    def forward(self, images: Tensor) -> BackboneOutput:
        """Run the network once on images (N, 3, H, W) from -1 to 1, as `fit` gives them."""

    def linear_weights(self) -> list[Tensor] | None:
        """The weights (C,) by which LPIPS weighs the channels of each feature, on its own device; None: all alike."""
        return None

    def fit(self, images: Tensor) -> Tensor:
        """Bring images (N, C, H, W) to what `forward` takes: in the dtype of its weights; of 3 or 4 channels the first
        three, which are the colours, of any other number their mean, repeated; small ones enlarged bilinearly until the
        shorter side has `smallest` pixels, and the longer one as much, but not beyond `LONGEST`.
        """
        images = to_rgb(images).to(next((weight.dtype for weight in self.parameters()), torch.float32))
        shorter = min(images.shape[-2:])
        if shorter < self.smallest:
            scale = self.smallest / shorter
            enlarged = [min(math.floor(side * scale + 0.5), max(side, LONGEST)) for side in images.shape[-2:]]
            size = [max(self.smallest, side) for side in enlarged]
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        if images.device.type in ("cpu", "cuda"):  # Convolutions there are fastest with the channels last.
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def freeze(self: B) -> B:
        """Take no weight gradients and stay in eval mode from now on; returns the backbone itself."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self: B, mode: bool = True) -> B:
        """Switch to training mode, but once frozen stay in eval mode whatever ``mode`` says."""
        return super().train(mode and not self.frozen)
