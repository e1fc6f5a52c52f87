"""The two networks of the GAN, in plain torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Painter", "critic"]


class Painter(nn.Module):
    """A learned map of 6x5, to which z adds, is enlarged three times; before each convolution z scales the channels.

    Args:
        dim: the length of z.
        widths: the channels of the map, and after each enlargement.
        start: the height and width of the map.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], start: tuple[int, int]) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, widths[0], *start))
        self.places = nn.Linear(dim, self.start.numel())
        pairs = list(pairwise(widths))
        self.scales = nn.ModuleList(nn.Linear(dim, 2 * before) for before, _ in pairs)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, z: Tensor, start: Tensor) -> Tensor:
        """z (N, dim) and the map (N, widths[0], h, w) => images (N, 1, H, W) from 0 to 1."""
        x = start + self.places(z).unflatten(1, start.shape[1:])
        for scale, conv in zip(self.scales, self.convs, strict=True):
            gain, shift = scale(z)[:, :, None, None].chunk(2, dim=1)
            x = F.interpolate(x * (1 + gain) + shift, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.leaky_relu(conv(x), 0.2)
        return torch.sigmoid(self.last(x))


def critic() -> nn.Module:
    """Images (N, 1, 48, 40) => how real they look (N, 1). Only training needs it."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), spectral_norm(nn.Linear(64 * 6 * 5, 1)))
