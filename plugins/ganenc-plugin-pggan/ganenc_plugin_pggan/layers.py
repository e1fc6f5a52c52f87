"""The layers of PGGAN that core has not: the first level, and the convolution that enlarges."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from ganenc.encoders import Conv, conv_doubled
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FirstLevel", "UpConv"]


class FirstLevel(nn.Module):
    """The vector spread over the first level by a dense layer: (N, inputs) => (N, outputs, *size).

    Args:
        inputs: length of the vector.
        outputs: channels out; the bias is one for each.
        size: height and width of the level.
        bias_per_place: whether the bias is one for each place of each channel instead.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], *, bias_per_place: bool = False) -> None:
        super().__init__()
        self.shape = (outputs, *size)
        self.scale = math.sqrt(2) / 4 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(math.prod(self.shape), inputs))
        self.bias = nn.Parameter(torch.zeros(math.prod(self.shape) if bias_per_place else outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) => (N, outputs, *size)."""
        _, height, width = self.shape
        x = rearrange(F.linear(x, self.weight * self.scale), "n (c h w) -> n c h w", h=height, w=width)
        return x + self.bias.to(x.dtype).view(len(x[0]), *((1, 1) if len(self.bias) == len(x[0]) else self.shape[1:]))


class UpConv(Conv):
    """Twice the size by nearest neighbours, then a 3x3 convolution, as one: (N, C, H, W) => (N, D, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, D, 2H, 2W)."""
        return conv_doubled(x, self.weight * self.scale, self.bias)
