"""SSIM: a loss on the local structure of images (paper, Equation 3; Wang et al., 2004)."""

from __future__ import annotations

from functools import lru_cache

import torch
from kornia.filters import get_gaussian_kernel1d
from torch import Tensor
from torch.nn import functional as F

from ganenc.objectives.losses.base import Loss, pool

WINDOW, SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


class SSIM(Loss):
    """1 - SSIM, the structural similarity of Wang et al. (2004), sample by sample (Equation 3).

    An 11x11 Gaussian window with sigma 1.5, where it lies within the image, and the mean over positions and channels.
    SSIM is made for intensities that start at black = 0, so images are moved from ``value_range`` to 0 to 1, with a
    dynamic range of 1 (the published code takes 1 for images from -1 to 1, where greys just below and just above the
    middle count as opposites). Images are pooled to at most 256 pixels first; where one is smaller than the window, the
    window shrinks to the largest odd size that fits. The values are those of ``kornia.metrics.ssim``, which convolves
    the target anew at each step (10% of its time at 64 pixels); here the window is a banded matrix.
    """

    pictures_only = True

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target on the scale from 0 to 1, its local means, and its local variances."""
        target = self._intensities(target_view.detach())
        with torch.autocast(target.device.type, enabled=False):
            mean, square = _blur(torch.cat([target, target.square()], 1)).chunk(2, 1)
        return target, mean, square - mean.square()

    def forward(self, view: Tensor, reference: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """1 - SSIM, (N,), from 0 to 2."""
        target, target_mean, target_variance = reference
        image = self._intensities(view)
        with torch.autocast(image.device.type, enabled=False):
            mean, square, product = _blur(torch.cat([image, image.square(), image * target], 1)).chunk(3, 1)
            means, squares = mean * target_mean, mean.square()
            luminance = (2 * means + _C1) / (squares + target_mean.square() + _C1)
            structure = (2 * (product - means) + _C2) / (square - squares + target_variance + _C2)
            return 1.0 - (luminance * structure).mean((1, 2, 3))

    def _intensities(self, images: Tensor) -> Tensor:
        return pool(self.scaled(images, (0.0, 1.0))).contiguous()


def _blur(maps: Tensor) -> Tensor:
    """The Gaussian mean of (N, C, H, W) at every position where the window fits."""
    height, width = maps.shape[-2:]
    window = min(WINDOW, (min(height, width) - 1) // 2 * 2 + 1)
    rows, columns = (_band(side, window, maps.dtype, maps.device) for side in (height, width))
    return rows @ (maps @ columns.mT)


@lru_cache(maxsize=64)
def _band(size: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (size - window + 1, size) that takes Gaussian means along one axis."""
    with torch.inference_mode(False), torch.no_grad():
        taps = get_gaussian_kernel1d(window, SIGMA, dtype=torch.float64)
        shifted = F.conv1d(torch.eye(size, dtype=torch.float64)[:, None], taps[None])
        return shifted[:, 0].mT.contiguous().to(device, dtype)
