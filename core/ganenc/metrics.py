"""Metrics: how close images are, as numbers to report, with the settings they were taken under."""

from __future__ import annotations

import math
from typing import Any

import torch
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.backbones import Backbone
from ganenc.images import Range, convert_range, to_uint8
from ganenc.losses import LPIPS

__all__ = ["evaluate_pairs", "lpips", "metric_settings", "psnr", "ssim"]

WINDOW = 7
"""The side of the uniform window of SSIM, scikit-image's default; smaller images take the largest odd one that fits."""
_CHUNK = 16


def psnr(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0)) -> list[float]:
    """Peak signal-to-noise ratio in dB, image by image, on 8 bits with peak 255.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        value_range: the values of black and white.

    Returns:
        N numbers; infinity where two images are equal.

    Raises:
        ImageError: if the shapes differ or are no batches of images.
    """
    x, y = _eight_bits(a, b, value_range)
    errors = (x.double() - y.double()).square().flatten(1).mean(1)
    values: list[float] = (20.0 * math.log10(255.0) - 10.0 * torch.log10(errors)).tolist()
    return values


def ssim(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0)) -> list[float]:
    """Structural similarity (Wang et al., 2004), image by image, on 8 bits: scikit-image with its default settings.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        value_range: the values of black and white.

    Returns:
        N numbers from -1 to 1.

    Raises:
        ImageError: if the shapes differ, are no batches of images, or a side is under 3 pixels.
    """
    from skimage.metrics import structural_similarity

    x, y = _eight_bits(a, b, value_range)
    window = _window(x)
    compare: Any = structural_similarity
    return [
        float(compare(one, other, win_size=window, channel_axis=0, data_range=255))
        for one, other in zip(x.cpu().numpy(), y.cpu().numpy(), strict=True)
    ]


def lpips(a: Tensor, b: Tensor, *, backbone: Backbone, value_range: Range = (-1.0, 1.0)) -> list[float]:
    """Learned perceptual similarity (Zhang et al., 2018), image by image, on 8 bits: see `ganenc.losses.LPIPS`.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        backbone: the frozen network; report the numbers under ``lpips-`` and its name.
        value_range: the values of black and white.

    Returns:
        N numbers, 0 where two images are equal.

    Raises:
        ImageError: if the shapes differ or are no batches of images.
    """
    x, y = _eight_bits(a, b, value_range)
    loss = LPIPS(backbone)
    device = next((tensor.device for tensor in [*backbone.parameters(), *backbone.buffers()]), x.device)
    values: list[float] = []
    with torch.no_grad():
        for one, other in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True):
            # Both sides in one batch: a network may round differently for another batch size.
            views = convert_range(torch.cat([one, other]).to(device).float(), (0.0, 255.0), (-1.0, 1.0))
            features = loss.prepare(views)
            values += loss.between(*([part.chunk(2)[side] for part in features] for side in (0, 1))).tolist()
    return values


def evaluate_pairs(
    a: Tensor,
    b: Tensor,
    *,
    value_range: Range = (-1.0, 1.0),
    backbone: Backbone | None = None,
) -> list[dict[str, float]]:
    """All metrics of N pairs of images; `metric_settings` says how they are taken.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape, in the same order.
        value_range: the values of black and white.
        backbone: the network for LPIPS; without it LPIPS is left out.

    Returns:
        for each pair ``psnr``, ``ssim`` and ``lpips-<name of the backbone>``.

    Raises:
        ImageError: if the shapes differ or are no batches of images, or the images are too small.
    """
    columns: dict[str, list[float]] = {
        "psnr": psnr(a, b, value_range=value_range),
        "ssim": ssim(a, b, value_range=value_range),
    }
    if backbone is not None:
        columns[f"lpips-{backbone.name}"] = lpips(a, b, backbone=backbone, value_range=value_range)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def metric_settings(images: Tensor, backbone: Backbone | None = None) -> dict[str, str]:
    """How `evaluate_pairs` takes its metrics on such images, in words, by the name of the metric.

    Args:
        images: one of the two batches (N, C, H, W).
        backbone: the network for LPIPS, if there is one.
    """
    size = f"{images.shape[-2]}x{images.shape[-1]} pixels, clamped and rounded to 8 bits"
    window = _window(images)
    settings = {
        "psnr": f"in dB, peak 255, per image over all channels; {size}",
        "ssim": f"scikit-image, uniform {window}x{window} window, data range 255, K1 0.01, K2 0.03; {size}",
    }
    if backbone is not None:
        weights = "equal weights" if backbone.linear_weights() is None else "linear weights of lpips 0.1"
        settings[f"lpips-{backbone.name}"] = (
            f"features of {backbone.name}, {weights}; pooled to at most 256 pixels and enlarged to at least "
            f"{backbone.smallest}; {size}"
        )
    return settings


def _eight_bits(a: Tensor, b: Tensor, value_range: Range) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim != 4 or 0 in a.shape[1:]:
        raise ImageError(
            f"Metrics compare two batches (N, C, H, W) of one shape; these are {tuple(a.shape)} and {tuple(b.shape)}."
        )
    return to_uint8(a, value_range), to_uint8(b, value_range)


def _window(images: Tensor) -> int:
    """The side of the SSIM window for such images: 7, or the largest odd one that fits."""
    shorter = min(images.shape[-2:])
    if shorter < 3:
        raise ImageError(f"SSIM needs images of 3x3 pixels or more; these are {images.shape[-2]}x{images.shape[-1]}.")
    return min(WINDOW, (shorter - 1) // 2 * 2 + 1)
