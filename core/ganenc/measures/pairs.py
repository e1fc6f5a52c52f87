"""Metrics of pairs of images: PSNR, SSIM and LPIPS, on images that are clamped and rounded to 8 bits."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc import objectives
from ganenc.images import Range, convert_range
from ganenc.measures.metric import Metric

WINDOW = 7
"""The side of the uniform window of SSIM, scikit-image's default; smaller images take the largest odd one that fits."""


class PSNR(Metric):
    """Peak signal-to-noise ratio; infinity where two images are equal."""

    higher_is_better: ClassVar[bool] = True
    unit, digits, within = "dB", 2, "within the region alone"

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        """10 log10(255^2 / MSE), over all channels."""
        squares = (self.eight_bits(a).double() - self.eight_bits(b).double()).square().mean(1, keepdim=True)
        kept = torch.ones_like(squares) if region is None else region.to(squares)
        errors = (squares * kept).flatten(1).sum(1) / kept.flatten(1).sum(1)
        values: list[float] = (20.0 * math.log10(255.0) - 10.0 * torch.log10(errors)).tolist()
        return values

    def how(self, images: Tensor) -> str:
        return "in dB, peak 255, per image over all channels, clamped and rounded to 8 bits"


class SSIM(Metric):
    """Structural similarity (Wang et al., 2004), from -1 to 1: scikit-image with its default settings.

    Within a region it is the mean of scikit-image's full map over the region's pixels; their windows reach beyond it,
    and beyond the borders of the image, near which scikit-image's own mean over the whole image leaves pixels out.
    """

    higher_is_better: ClassVar[bool] = True
    pictures_only = True
    within = "mean of the full map over the region, where windows reach beyond it"

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        """Image by image, on the CPU."""
        from skimage.metrics import structural_similarity

        settings: dict[str, Any] = {"win_size": _window(a), "channel_axis": 0, "data_range": 255}
        compare: Any = structural_similarity
        pairs = zip(*(self.eight_bits(images).cpu().numpy() for images in (a, b)), strict=True)
        if region is None:
            return [float(compare(one, other, **settings)) for one, other in pairs]
        maps = [compare(one, other, full=True, **settings)[1].mean(0) for one, other in pairs]
        return [float(each[inside].mean()) for each, inside in zip(maps, region[:, 0].cpu().numpy(), strict=True)]

    def how(self, images: Tensor) -> str:
        window = f"uniform {_window(images)}x{_window(images)} window"
        return f"scikit-image, {window}, data range 255, K1 0.01, K2 0.03, clamped and rounded to 8 bits"


class LPIPS(Metric):
    """Learned perceptual distance (Zhang et al., 2018), 0 where two images are equal: see `ganenc.objectives.LPIPS`.

    Within a region, what lies outside it is taken from the first images on both sides, so that only differences inside
    count; the distance is averaged over the whole image nonetheless, and a small region gives a small one.
    """

    higher_is_better: ClassVar[bool] = False
    needs_backbone = pictures_only = True
    within = "what lies outside the region is the first image's on both sides, so only differences within it count"

    @cached_property
    def loss(self) -> objectives.LPIPS:
        """The loss, on images from -1 to 1."""
        return objectives.LPIPS(context=Context(load_backbone=lambda: self.context.backbone))

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        """Both sides in one batch: a network may round differently for another batch size."""
        x, y = self.eight_bits(a), self.eight_bits(b)
        if region is not None:
            y = torch.where(region, y, x)
        features = self.loss.prepare(convert_range(torch.cat([x, y]).float(), (0.0, 255.0), (-1.0, 1.0)))
        values: list[float] = self.loss.between(
            *([part.chunk(2)[side] for part in features] for side in (0, 1))
        ).tolist()
        return values

    def how(self, images: Tensor) -> str:
        backbone = self.context.backbone
        weights = "equal weights" if backbone.linear_weights() is None else "linear weights of lpips 0.1"
        return (
            f"features of {backbone.name}, {weights}, of images clamped and rounded to 8 bits, pooled to at most"
            f" {objectives.LARGEST} pixels and enlarged to at least {backbone.smallest}"
        )


class Identity(Metric):
    """Cosine of two images' embeddings, 1 where they are alike: of faces on a network of faces, whether it is the same.

    The embedding is the deepest features of a backbone, averaged over positions (not in paper).
    """

    higher_is_better: ClassVar[bool] = True
    needs_backbone = pictures_only = True

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        """Both sides in one batch."""
        one, other = embedding(self.context.backbone, torch.cat([self.eight_bits(a), self.eight_bits(b)])).chunk(2)
        values: list[float] = torch.cosine_similarity(one, other).tolist()
        return values

    def how(self, images: Tensor) -> str:
        return f"cosine of {embedded(self.context.backbone)}, clamped and rounded to 8 bits"


def embedding(backbone: objectives.Backbone, images: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W) => the deepest features of a backbone, averaged over positions (N, D)."""
    views = objectives.pool(convert_range(images.float(), (0.0, 255.0), (-1.0, 1.0)))
    found: list[Tensor] = backbone(backbone.fit(views)).features
    return found[-1].float().mean((2, 3))


def embedded(backbone: objectives.Backbone) -> str:
    """What `embedding` gives, in words."""
    return (
        f"deepest features of {backbone.name}, averaged over positions, of images pooled to at most"
        f" {objectives.LARGEST} pixels and enlarged to at least {backbone.smallest}"
    )


def psnr(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0)) -> list[float]:
    """`PSNR` in dB of images (N, C, H, W) in that range, image by image; `ImageError` if their shapes do not fit."""
    found = PSNR(context=Context(value_range=value_range, device=str(a.device)))(a, b)
    assert isinstance(found, list)
    return found


def _window(images: Tensor) -> int:
    """The side of the SSIM window for such images: 7, or the largest odd one that fits."""
    shorter = min(images.shape[-2:])
    if shorter < 3:
        raise ImageError(f"SSIM needs images of 3x3 pixels or more; these are {images.shape[-2]}x{images.shape[-1]}.")
    return min(WINDOW, (shorter - 1) // 2 * 2 + 1)
