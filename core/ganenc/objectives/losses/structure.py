"""SSIM: a loss on the local structure of images (paper, Equation 3; Wang et al., 2004)."""

from __future__ import annotations

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor

from ganenc.images import convert_range
from ganenc.objectives.losses.base import Loss, pool, precise

__all__ = ["SSIM"]

WINDOW = 11
SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


class SSIM(Loss):
    """1 - SSIM, the structural similarity of Wang et al. (2004), sample by sample (Equation 3).

    An 11x11 Gaussian window with sigma 1.5, taken where it lies within the image, and the mean over positions and
    channels. SSIM is made for intensities that start at black = 0, so images are moved from ``value_range`` to the
    scale from 0 to 1 and the dynamic range is 1. (The published code takes a dynamic range of 1 for images from -1 to
    1, where a grey just below the middle and one just above it count as opposites.) Images are pooled to at most 256
    pixels first; where one is smaller than the window, the window shrinks to the largest odd size that fits.

    The Gaussian is applied along each axis as a banded matrix: as exact as a convolution, and on processors, where
    convolutions of one channel are slow, several times faster for small images.
    """

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self._bands: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target on the scale from 0 to 1, its local means, and its local variances."""
        target = self._intensities(target_view.detach())
        with torch.autocast(target.device.type, enabled=False):
            mean, square = self._blur(torch.cat([target, target.square()], 1)).chunk(2, 1)
        return target, mean, square - mean.square()

    def forward(self, view: Tensor, reference: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """1 - SSIM, (N,), from 0 to 2."""
        target, target_mean, target_variance = reference
        image = self._intensities(view)
        with torch.autocast(image.device.type, enabled=False):
            moments = self._blur(torch.cat([image, image.square(), image * target], 1))
            mean, square, product = moments.chunk(3, 1)
            means = mean * target_mean
            squares = mean.square()
            luminance = (2 * means + _C1) / (squares + target_mean.square() + _C1)
            structure = (2 * (product - means) + _C2) / (square - squares + target_variance + _C2)
            return 1.0 - (luminance * structure).flatten(1).mean(1)

    def _intensities(self, images: Tensor) -> Tensor:
        return pool(convert_range(precise(images), self.value_range, (0.0, 1.0))).contiguous()

    def _blur(self, maps: Tensor) -> Tensor:
        """The Gaussian mean of (N, C, H, W) at every position where the window fits."""
        height, width = maps.shape[-2:]
        window = min(WINDOW, (min(height, width) - 1) // 2 * 2 + 1)
        rows, columns = self._band(height, window, maps), self._band(width, window, maps)
        return rows @ (maps @ columns.mT)

    def _band(self, size: int, window: int, like: Tensor) -> Tensor:
        """The matrix (size - window + 1, size) that takes Gaussian means along one axis."""
        key = (size, window, like.dtype, like.device)
        if key not in self._bands:
            with torch.inference_mode(False):
                offsets = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
                taps = torch.exp(-offsets.square() / (2 * SIGMA**2))
                band = torch.zeros(size - window + 1, size, dtype=torch.float64)
                for row in range(len(band)):
                    band[row, row : row + window] = taps / taps.sum()
                self._bands[key] = band.to(like.device, like.dtype)
        return self._bands[key]
