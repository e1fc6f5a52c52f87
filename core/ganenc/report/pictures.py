"""Images in a page, as PNG files in base64."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import torch
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc.images import Range, convert_range, depict, png_bytes, shrink

FEW_PIXELS = 256
"""Images with a longer side under this are shown enlarged, pixel by pixel."""
FACTORS = (1, 2, 4, 8, 16)


class Picture(NamedTuple):
    """What an ``img`` needs."""

    url: str
    width: int
    height: int
    few: bool
    """Whether it is to be enlarged pixel by pixel."""


def picture(pixels: Tensor, limit: int, spec: GeneratorSpec | None = None) -> Picture:
    """An image (C, H, W) of a generator, or 8 bits, made smaller where its longer side is over ``limit``."""
    shown = (pixels if spec is None else depict(pixels, spec)).float().cpu()
    small = shrink(shown, limit)
    height, width = small.shape[-2:]
    url = "data:image/png;base64," + base64.b64encode(png_bytes(small, (0.0, 255.0))).decode("ascii")
    return Picture(url, width, height, max(height, width) < FEW_PIXELS)


def amplification(a: Tensor, b: Tensor, *, value_range: Range) -> int:
    """The largest of 1, 2, 4, 8 and 16 that times the difference of two images (C, H, W) leaves 99% of it unclipped."""
    error = _error(a, b, value_range).flatten()
    high = float(error.kthvalue(max(1, round(0.99 * error.numel()))).values)
    return max((factor for factor in FACTORS if factor * high <= 1.0), default=1)


def difference(a: Tensor, b: Tensor, *, factor: float, value_range: Range) -> Tensor:
    """The absolute difference of two images (C, H, W) times ``factor``, from 0 to 1."""
    return (_error(a, b, value_range) * factor).clamp(0.0, 1.0)


def compared(target: Tensor, reconstruction: Tensor, spec: GeneratorSpec) -> dict[str, Any]:
    """Two images (C, H, W) of a generator and their difference, with the factor by which that is shown: curves of
    signals, and the mean over the channels where these are neither colours nor greys."""
    factor = amplification(target, reconstruction, value_range=spec.value_range)
    error = difference(target, reconstruction, factor=factor, value_range=spec.value_range)
    if spec.shows != "signals" and len(error) not in (1, 3):
        error = error.mean(0, keepdim=True)
    alike = spec.model_copy(update={"value_range": (0.0, 1.0), "one_hot": False})
    return {"target": target, "reconstruction": reconstruction, "difference": depict(error, alike), "factor": factor}


def _error(a: Tensor, b: Tensor, value_range: Range) -> Tensor:
    one, other = (convert_range(x.detach().float().cpu(), value_range, (0.0, 1.0)).clamp(0.0, 1.0) for x in (a, b))
    return torch.nan_to_num((one - other).abs(), nan=1.0)
