"""Images in a page: PNG files as base64, with what is shown below them."""

from __future__ import annotations

import base64
from html import escape

import torch
from torch import Tensor

from ganenc.images import Range, convert_range, png_bytes, shrink

__all__ = ["FEW_PIXELS", "SMOOTH", "amplification", "data_url", "difference", "figure", "image", "png_figure"]

FEW_PIXELS = 256
"""Images with a longer side under this are shown enlarged, pixel by pixel."""
FACTORS = (1, 2, 4, 8, 16)
SMOOTH = '<span class="choice"><label><input type="checkbox" id="smooth">smooth enlarged pixels</label></span>'
"""The switch that a page with small images carries."""


def figure(picture: Tensor, title: str, text: str = "", *, value_range: Range, limit: int = 1024) -> str:
    """An image with its caption.

    Args:
        picture: (C, H, W) in ``value_range``.
        title: the caption's first words.
        text: the rest of the caption.
        value_range: the values of black and white.
        limit: the longest side in pixels that goes into the page.
    """
    caption = f"<b>{escape(title)}</b>" + (f" {escape(text)}" if text else "")
    shown = image(picture, title, value_range=value_range, limit=limit)
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def image(picture: Tensor, alt: str, *, value_range: Range, limit: int = 1024) -> str:
    """An ``img`` that carries its pixels (C, H, W), made smaller where it is longer than ``limit``."""
    small = shrink(picture.detach().float().cpu(), limit)
    height, width = small.shape[-2:]
    few = ' class="few"' if max(height, width) < FEW_PIXELS else ""
    url = data_url(png_bytes(small, value_range))
    return f'<img{few} src="{url}" width="{width}" height="{height}" alt="{escape(alt, quote=True)}">'


def png_figure(png: bytes, title: str) -> str:
    """A PNG file with its caption."""
    shown = f'<img src="{data_url(png)}" alt="{escape(title, quote=True)}">'
    return f"<figure>{shown}<figcaption>{escape(title)}</figcaption></figure>"


def data_url(png: bytes) -> str:
    """The bytes of a PNG file as a URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def amplification(a: Tensor, b: Tensor, *, value_range: Range) -> int:
    """The factor by which to amplify the difference of two images (C, H, W) so that it fills the range of grey values.

    The largest of 1, 2, 4, 8 and 16 that leaves at least 99% of the values unclipped.
    """
    error = _error(a, b, value_range).flatten()
    high = float(error.kthvalue(max(1, round(0.99 * error.numel()))).values)
    return max((factor for factor in FACTORS if factor * high <= 1.0), default=1)


def difference(a: Tensor, b: Tensor, *, factor: float, value_range: Range) -> Tensor:
    """The absolute difference of two images (C, H, W) times ``factor``, from 0 to 1."""
    return (_error(a, b, value_range) * factor).clamp(0.0, 1.0)


def _error(a: Tensor, b: Tensor, value_range: Range) -> Tensor:
    one, other = (convert_range(x.detach().float().cpu(), value_range, (0.0, 1.0)).clamp(0.0, 1.0) for x in (a, b))
    return torch.nan_to_num((one - other).abs(), nan=1.0)
