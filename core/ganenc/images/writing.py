"""Images as PNG files, or as arrays where they are no pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from ganenc_registry.errors import ImageError
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganenc.files import MARK, write_bytes
from ganenc.images.decoding import ARRAY, PICTURES
from ganenc.images.ranges import Range, to_rgb, to_uint8


def to_pixels(image: Tensor, value_range: Range = (-1.0, 1.0)) -> np.ndarray[Any, Any]:
    """One image (C, H, W), else an ImageError, clamped and rounded to 8 bits: uint8 (H, W, C)."""
    if image.ndim != 3 or not image.shape[0]:
        raise ImageError(f"A picture is made from one image (C, H, W), not {tuple(image.shape)}.")
    return np.ascontiguousarray(rearrange(to_uint8(image, value_range).cpu(), "c h w -> h w c").numpy())


def to_image(image: Tensor, value_range: Range = (-1.0, 1.0)) -> Image.Image:
    """One image (C, H, W) for Pillow, as `to_pixels` gives it: in mode L, RGB or RGBA by its 1, 3 or 4 channels; of
    other numbers the colours that `to_rgb` takes."""
    shown = image if image.ndim != 3 or len(image) in (0, *PICTURES) else to_rgb(image)
    pixels = to_pixels(shown, value_range)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def png_bytes(image: Tensor, value_range: Range = (-1.0, 1.0)) -> bytes:
    """One image as the bytes of a PNG file; see `to_image`."""
    buffer = io.BytesIO()
    said = PngInfo()
    said.add_text("Software", MARK)
    to_image(image, value_range).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def write_png(path: str | Path, image: Tensor, *, value_range: Range = (-1.0, 1.0), replace: bool = False) -> None:
    """Write one image as a PNG file, atomically, see `to_image`; a GanencError if the file cannot be written."""
    write_bytes(path, png_bytes(image, value_range), replace=replace)


def write_image(path: str | Path, image: Tensor, *, value_range: Range = (-1.0, 1.0)) -> Path:
    """Write one image (C, H, W) with all its channels, atomically, and give the file: a PNG file of 1, 3 or 4 channels,
    as in `write_png`; of other numbers ``.npy`` in its place, uint8 (H, W, C), which `ganenc.images.read` takes."""
    if len(image) in PICTURES:
        write_png(path, image, value_range=value_range)
        return Path(path)
    buffer, path = io.BytesIO(), Path(path).with_suffix(ARRAY)
    np.save(buffer, to_pixels(image, value_range))
    write_bytes(path, buffer.getvalue() + MARK.encode())  # Which readers of arrays pass over.
    return path
