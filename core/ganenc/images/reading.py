"""Photos as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from einops import rearrange
from ganenc_registry.errors import ImageError, nearest
from torch import Tensor
from torch.nn import functional as F

from ganenc.images.decoding import PICTURES, Fit, PhotoSource, as_floats, cover_box, fitted, load_values
from ganenc.images.ranges import Range, convert_range


def read(
    photo: PhotoSource,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
    one_hot: bool = False,
) -> Tensor:
    """Read one photo, or what `decode` gives (fastest for several sizes), as float32 (C, H, W) in ``value_range``, the
    values of black and white.

    It is brought to ``size`` (height, width) by Lanczos (down) or bicubic (up) resampling with antialiasing; of another
    shape, ``fit`` crops the centre (``cover``), keeps all of it on white margins (``contain``) or changes its
    proportions (``stretch``). ``channels`` are 3 for colour and 1 for grey, what is transparent on white, and 4 for
    RGBA; others are no pictures, nor are images that are ``one_hot``, whose channels vote on the kind of a pixel, so
    that pixels are never blended.

    What is no picture (see `is_array`) is read from arrays: (H, W, C) or (C, H, W); rows of pixels also (C, W), (W, C)
    or of one channel (W,); one-hot ones also as whole numbers (H, W) or (W,), the channel of each pixel. Floats are
    values as they are, in ``value_range``; of whole numbers 0 is black and the highest of their type white, or 1 where
    they are one-hot. An ImageError as in `decode`, or if it has other channels.
    """
    if fit not in get_args(Fit):
        raise ImageError(
            f"There is no fit {fit!r}{nearest(fit, get_args(Fit))}; it is one of {', '.join(get_args(Fit))}."
        )
    row = size is not None and size[0] == 1
    name = str(photo) if isinstance(photo, str | Path) else "The photo"
    if is_array(channels, size, one_hot=one_hot):
        values = _values(load_values(photo), name, channels, value_range, row=row, one_hot=one_hot)
        return values if size is None else _fitted(values, size, fit, one_hot=one_hot)
    return to_values(fitted(photo, channels, size, fit), value_range)


def to_values(pixels: np.ndarray[Any, Any], value_range: Range) -> Tensor:
    """Pixels (..., H, W, C) of 8 bits, or floats within [0, 1], as float32 (..., C, H, W) in a range."""
    values = rearrange(torch.from_numpy(as_floats(pixels)), "... h w c -> ... c h w").contiguous()
    return convert_range(values, (0.0, 1.0), value_range)


def is_array(channels: int, size: tuple[int, int] | None = None, *, one_hot: bool = False) -> bool:
    """Whether images are arrays of values, no pictures: of not 1, 3 or 4 channels, one row of pixels, or one-hot."""
    return one_hot or channels not in PICTURES or (size is not None and size[0] == 1)


def _values(
    array: np.ndarray[Any, Any], name: str, channels: int, value_range: Range, *, row: bool, one_hot: bool
) -> Tensor:
    """An array of one of the shapes that `read` takes => its values (C, H, W); an ImageError if it is none."""
    whole, shape = array.dtype.kind in "biu", array.shape
    kinds = one_hot and whole and array.ndim == (1 if row else 2)
    if kinds and array.size and (array.min() < 0 or array.max() >= channels):
        raise ImageError(f"{name} holds kinds from {array.min()} to {array.max()}; they are from 0 to {channels - 1}.")
    array = np.eye(channels, dtype=np.uint8)[array.astype(np.int64)] if kinds else array
    array = array[None] if row and array.ndim < 3 and (array.ndim == 2 or channels == 1) else array
    array = array[..., None] if row and array.ndim == 2 else array
    if row and array.shape[0] == 1 and array.shape[2] != channels:
        array = array.swapaxes(1, 2)
    if array.ndim == 3 and array.shape[2] != channels:
        array = np.moveaxis(array, 0, 2)
    least = 1 if one_hot and whole and array.size and array.max() <= 1 else 0
    white = least or (np.iinfo(array.dtype).max if array.dtype in (np.uint8, np.uint16) else 0)
    shapes = f"({'1, W' if row else 'H, W'}, {channels})"
    if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape or not (white or array.dtype.kind == "f"):
        raise ImageError(f"{name} has shape {shape} and type {array.dtype}; give {shapes}, floats or of 8 or 16 bits.")
    values = torch.from_numpy(rearrange(array, "h w c -> c h w").astype(np.float32))
    if not values.isfinite().all():
        raise ImageError(f"{name} holds values that are not numbers; save it again with finite values.")
    return convert_range(values, (0.0, float(white)), value_range) if white else values


def _fitted(values: Tensor, size: tuple[int, int], fit: Fit, *, one_hot: bool) -> Tensor:
    """Values (C, H, W) brought to a size, see `Fit`; margins repeat what is nearest."""
    height, width = values.shape[1:]
    inner = size
    if fit == "cover":
        top, left, height, width = cover_box((height, width), size)
        values = values[:, top : top + height, left : left + width]
    elif fit == "contain":
        scale = min(size[0] / height, size[1] / width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    if tuple(values.shape[1:]) != inner:
        how: dict[str, Any] = {"mode": "nearest"} if one_hot else {"mode": "bilinear", "antialias": True}
        values = F.interpolate(values[None], inner, **how)[0]
    (left, right), (top, bottom) = ((one // 2, one - one // 2) for one in (size[1] - inner[1], size[0] - inner[0]))
    return F.pad(values, (left, right, top, bottom), mode="replicate")
