"""Images as PNG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from einops import rearrange
from ganenc_registry.errors import ImageError
from PIL import Image
from torch import Tensor

from ganenc.files import write_bytes
from ganenc.images.ranges import Range, to_uint8

__all__ = ["png_bytes", "to_image", "write_png"]


def to_image(image: Tensor, value_range: Range = (-1.0, 1.0)) -> Image.Image:
    """One image (C, H, W), with 1 or 3 channels (else an ImageError), for Pillow, clamped and rounded to 8 bits."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"A picture is made from one image (C, H, W) of 1 or 3 channels, not {tuple(image.shape)}.")
    pixels = rearrange(to_uint8(image, value_range).cpu(), "c h w -> h w c").numpy()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def png_bytes(image: Tensor, value_range: Range = (-1.0, 1.0)) -> bytes:
    """One image as the bytes of a PNG file; see `to_image`."""
    buffer = io.BytesIO()
    to_image(image, value_range).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path: str | Path, image: Tensor, *, value_range: Range = (-1.0, 1.0)) -> None:
    """Write one image as a PNG file, atomically, see `to_image`; a GanencError if the file cannot be written."""
    write_bytes(path, png_bytes(image, value_range))
