"""Metrics: how close images are, as numbers to report, with the settings they were taken under."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.images import Range, convert_range, to_uint8
from ganenc.objectives import LPIPS, Backbone

__all__ = ["evaluate_pairs", "lpips", "metric_settings", "psnr", "ssim"]

WINDOW = 7
"""The side of the uniform window of SSIM, scikit-image's default; smaller images take the largest odd one that fits."""
_CHUNK = 16
_WITHIN = {
    "psnr": "within the region alone",
    "ssim": "mean of the full map over the region, where windows reach beyond it",
    "lpips": "what lies outside the region is the first image's on both sides, so only differences within it count",
}


def psnr(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0), region: Tensor | None = None) -> list[float]:
    """Peak signal-to-noise ratio in dB, image by image, on 8 bits with peak 255.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        value_range: the values of black and white.
        region: bool (N, 1, H, W), the pixels that count; all of them by default.

    Returns:
        N numbers; infinity where two images are equal.

    Raises:
        ImageError: if the shapes differ, are no batches of images, or a region is empty.
    """
    x, y = _eight_bits(a, b, value_range)
    counted = _counted(region, x)
    parts = []
    for one, other, kept in zip(*(torch.split(each, _CHUNK) for each in (x, y, counted)), strict=True):
        squares = (one.double() - other.double()).square().mean(1, keepdim=True) * kept
        parts.append(squares.flatten(1).sum(1) / kept.flatten(1).sum(1))
    errors = torch.cat(parts) if parts else torch.zeros(0)
    values: list[float] = (20.0 * math.log10(255.0) - 10.0 * torch.log10(errors)).tolist()
    return values


def ssim(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0), region: Tensor | None = None) -> list[float]:
    """Structural similarity (Wang et al., 2004), image by image, on 8 bits: scikit-image with its default settings.

    Within a region it is the mean of scikit-image's full map over the region's pixels; their windows reach beyond it,
    and beyond the borders of the image, near which scikit-image's own mean over the whole image leaves pixels out.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        value_range: the values of black and white.
        region: bool (N, 1, H, W), the pixels that count; all of them by default.

    Returns:
        N numbers from -1 to 1.

    Raises:
        ImageError: if the shapes differ, are no batches of images, a region is empty, or a side is under 3 pixels.
    """
    from skimage.metrics import structural_similarity

    x, y = _eight_bits(a, b, value_range)
    settings: dict[str, Any] = {"win_size": _window(x), "channel_axis": 0, "data_range": 255}
    compare: Any = structural_similarity
    pairs = list(zip(x.cpu().numpy(), y.cpu().numpy(), strict=True))
    if region is None:
        return [float(compare(one, other, **settings)) for one, other in pairs]
    maps = [compare(one, other, full=True, **settings)[1].mean(0) for one, other in pairs]
    kept = _counted(region, x)[:, 0].cpu().numpy()
    return [float(values[inside].mean()) for values, inside in zip(maps, kept, strict=True)]


def lpips(
    a: Tensor,
    b: Tensor,
    *,
    backbone: Backbone,
    value_range: Range = (-1.0, 1.0),
    region: Tensor | None = None,
) -> list[float]:
    """Learned perceptual similarity (Zhang et al., 2018), image by image, on 8 bits: see `ganenc.objectives.LPIPS`.

    Within a region, what lies outside it is taken from the first images on both sides, so that only differences inside
    count; the distance is averaged over the whole image nonetheless, and a small region gives a small one.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape.
        backbone: the frozen network; report the numbers under ``lpips-`` and its name.
        value_range: the values of black and white.
        region: bool (N, 1, H, W), the pixels that count; all of them by default.

    Returns:
        N numbers, 0 where two images are equal.

    Raises:
        ImageError: if the shapes differ, are no batches of images, or a region is empty.
    """
    x, y = _eight_bits(a, b, value_range)
    if region is not None:
        y = torch.where(_counted(region, x), y, x)
    loss = LPIPS(context=Context(load_backbone=lambda: backbone))
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
    region: Tensor | None = None,
) -> list[dict[str, float]]:
    """All metrics of N pairs of images; `metric_settings` says how they are taken.

    Args:
        a: images (N, C, H, W).
        b: images of the same shape, in the same order.
        value_range: the values of black and white.
        backbone: the network for LPIPS; without it LPIPS is left out.
        region: bool (N, 1, H, W), the pixels that count; all of them by default.

    Returns:
        for each pair ``psnr``, ``ssim`` and ``lpips-<name of the backbone>``.

    Raises:
        ImageError: if the shapes differ, are no batches of images, a region is empty, or the images are too small.
    """
    columns: dict[str, list[float]] = {
        "psnr": psnr(a, b, value_range=value_range, region=region),
        "ssim": ssim(a, b, value_range=value_range, region=region),
    }
    if backbone is not None:
        columns[f"lpips-{backbone.name}"] = lpips(a, b, backbone=backbone, value_range=value_range, region=region)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def metric_settings(
    images: Tensor,
    backbone: Backbone | None = None,
    *,
    region: bool = False,
    metrics: Sequence[str] = ("psnr", "ssim", "lpips"),
) -> dict[str, str]:
    """How metrics are taken on such images, in words, by the name of the metric.

    Args:
        images: one of the two batches (N, C, H, W).
        backbone: the network for LPIPS, if there is one.
        region: whether they are taken within a region, as `evaluate_pairs` can.
        metrics: which registered ones; by default those of `evaluate_pairs`. One that needs a backbone is left out
            where there is none.

    Raises:
        UnknownNameError: if there is no such metric.
    """
    settings: dict[str, str] = {}
    for name in metrics:
        if name not in _WORDS:
            settings.update(_contributed_words(name, images, backbone))
        elif name not in _ON_BACKBONE:
            settings[name] = _WORDS[name](images, None)
        elif backbone is not None:
            settings[f"{name}-{backbone.name}"] = _WORDS[name](images, backbone)
    if not region:
        return settings
    return {name: f"{words}; {_WITHIN[name.partition('-')[0]]}" for name, words in settings.items()}


def _psnr_words(images: Tensor, backbone: Backbone | None) -> str:
    return f"in dB, peak 255, per image over all channels; {_size(images)}"


def _ssim_words(images: Tensor, backbone: Backbone | None) -> str:
    window = _window(images)
    return f"scikit-image, uniform {window}x{window} window, data range 255, K1 0.01, K2 0.03; {_size(images)}"


def _lpips_words(images: Tensor, backbone: Backbone | None) -> str:
    assert backbone is not None
    weights = "equal weights" if backbone.linear_weights() is None else "linear weights of lpips 0.1"
    return (
        f"features of {backbone.name}, {weights}; pooled to at most 256 pixels and enlarged to at least "
        f"{backbone.smallest}; {_size(images)}"
    )


def _frechet_words(images: Tensor, backbone: Backbone | None) -> str:
    from ganenc.measures.distances import frechet_words

    return f"{frechet_words(images, backbone)}; {_size(images)}"


_WORDS = {
    "psnr": _psnr_words,
    "ssim": _ssim_words,
    "lpips": _lpips_words,
    "fid": _frechet_words,
    "frechet": _frechet_words,
}
_ON_BACKBONE = ("lpips", "frechet")


def _contributed_words(name: str, images: Tensor, backbone: Backbone | None) -> dict[str, str]:
    """What the registration of a metric of someone else's says."""
    from ganenc.measures.evaluation import Metric

    label = Metric.named(name).label(backbone)
    summary = registry().get("metric", name).summary.rstrip(".")
    return {} if label is None else {label: f"{summary}; {images.shape[-2]}x{images.shape[-1]} pixels"}


def _size(images: Tensor) -> str:
    return f"{images.shape[-2]}x{images.shape[-1]} pixels, clamped and rounded to 8 bits"


def _eight_bits(a: Tensor, b: Tensor, value_range: Range) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim != 4 or 0 in a.shape[1:]:
        raise ImageError(
            f"Metrics compare two batches (N, C, H, W) of one shape; these are {tuple(a.shape)} and {tuple(b.shape)}."
        )
    return to_uint8(a, value_range), to_uint8(b, value_range)


def _counted(region: Tensor | None, images: Tensor) -> Tensor:
    """The pixels that count, bool (N, 1, H, W) beside the images."""
    shape = (len(images), 1, *images.shape[-2:])
    if region is None:
        return torch.ones(shape, dtype=torch.bool, device=images.device)
    if region.dtype != torch.bool or region.shape != shape:
        raise ImageError(
            f"A region is bool {shape} for images {tuple(images.shape)}; this one is {region.dtype} "
            f"{tuple(region.shape)}."
        )
    empty = (~region.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise ImageError(
            f"The region of sample {empty[0]} (they count from 0) is empty, so there is nothing to measure there; "
            "mark some of its pixels."
        )
    return region.to(images.device)


def _window(images: Tensor) -> int:
    """The side of the SSIM window for such images: 7, or the largest odd one that fits."""
    shorter = min(images.shape[-2:])
    if shorter < 3:
        raise ImageError(f"SSIM needs images of 3x3 pixels or more; these are {images.shape[-2]}x{images.shape[-1]}.")
    return min(WINDOW, (shorter - 1) // 2 * 2 + 1)
