"""Ranges of values of images, their 8 bits, and their colours."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Range: TypeAlias = tuple[float, float]
"""The values of black and white."""


def convert_range(images: Tensor, src: Range, dst: Range) -> Tensor:
    """Move images from one range of values to another, without clamping; equal ranges give the same tensor back."""
    if tuple(src) == tuple(dst):
        return images
    scale = (dst[1] - dst[0]) / (src[1] - src[0])
    return images * scale + (dst[0] - src[0] * scale)


def to_uint8(images: Tensor, value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Floats of any shape, clamped and rounded to 8 bits, black for what is no number; 8 bits as they are."""
    if images.dtype == torch.uint8:
        return images
    precise = images.detach().to(torch.promote_types(images.dtype, torch.float32))
    scaled = convert_range(precise, value_range, (0.0, 255.0))
    return scaled.nan_to_num(nan=0.0, posinf=255.0, neginf=0.0).clamp(0.0, 255.0).round().to(torch.uint8)


def to_rgb(images: Tensor) -> Tensor:
    """Images (..., C, H, W) of any number of channels => their colours (..., 3, H, W): of 3 or 4 channels the first
    three, of any other number their mean, repeated."""
    if images.shape[-3] in (3, 4):
        return images[..., :3, :, :]
    values = images if images.is_floating_point() else images.float()
    grey = images if images.shape[-3] == 1 else values.mean(-3, keepdim=True).to(images.dtype)
    return grey.expand(*images.shape[:-3], 3, -1, -1)


def shrink(image: Tensor, limit: int) -> Tensor:
    """An image (C, H, W) of any size => the same, its longer side at most ``limit`` pixels, by the mean of areas."""
    height, width = image.shape[-2:]
    if max(height, width) <= limit:
        return image
    scale = limit / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    values = image if image.is_floating_point() else image.float()
    return F.interpolate(values[None], size=size, mode="area")[0].to(image.dtype)
