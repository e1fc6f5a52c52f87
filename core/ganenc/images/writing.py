"""Images as PNG files, or as arrays where they are no pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import GeneratorSpec
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganenc.files import MARK, write_bytes
from ganenc.images.decoding import ARRAYS, PICTURES
from ganenc.images.depicting import depict
from ganenc.images.finding import SHEET
from ganenc.images.ranges import Range, to_rgb, to_uint8
from ganenc.images.reading import is_array


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


def png_bytes(image: Tensor, value_range: Range = (-1.0, 1.0), *, sheet: bool = False) -> bytes:
    """One image as the bytes of a PNG file; see `to_image`, and `write_png` for a ``sheet``."""
    buffer = io.BytesIO()
    said = PngInfo()
    said.add_text("Software", MARK)
    if sheet:
        said.add_text("Title", SHEET)
    to_image(image, value_range).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def write_png(
    path: str | Path, image: Tensor, *, value_range: Range = (-1.0, 1.0), replace: bool = False, sheet: bool = False
) -> None:
    """Write one image as a PNG file, atomically, see `to_image`; a GanencError if the file cannot be written. A
    ``sheet`` shows several images, and is no photo that `find` finds in a folder."""
    write_bytes(path, png_bytes(image, value_range, sheet=sheet), replace=replace)


def write_image(path: str | Path, image: Tensor, spec: GeneratorSpec) -> Path:
    """Write one image (C, H, W) of a generator, atomically: a PNG file that shows it, and if it is no picture (see
    `ganenc.images.is_array`) its values, floats (H, W, C), as ``.npy`` beside, which `ganenc.images.read` takes. Gives
    the file that holds all of it."""
    write_png(path, depict(image, spec))
    if not is_array(spec.channels, spec.size, one_hot=spec.shows == "tiles"):
        return Path(path)
    buffer, path = io.BytesIO(), Path(path).with_suffix(ARRAYS[0])
    values = image.detach().cpu().to(torch.promote_types(image.dtype, torch.float32))
    np.save(buffer, rearrange(values, "c h w -> h w c").numpy())
    write_bytes(path, buffer.getvalue() + MARK.encode())  # Which readers of arrays pass over.
    return path
