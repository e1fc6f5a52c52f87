"""Losses between a view of a target and the same view of its reconstruction (paper, Equation 3)."""

from ganenc.losses.base import Loss, pool
from ganenc.losses.perceptual import LPIPS
from ganenc.losses.pixels import COS, MSE
from ganenc.losses.structure import SSIM

__all__ = ["COS", "LPIPS", "MSE", "SSIM", "Loss", "pool"]
