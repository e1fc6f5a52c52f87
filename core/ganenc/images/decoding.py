"""Photos as upright pixels in three plain modes, and their resampling. Without tensors."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from ganenc_registry.errors import ImageError
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["Fit", "Photo", "cover_box", "decode", "resample", "resize", "to_array"]

Photo: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray[Any, Any]"
"""A file's path or its bytes, an image of Pillow, or pixels (H, W), (H, W, 3) or (H, W, 4), of 8 or 16 bits, or floats
whose white is the least of 1, 255 and 65535 that is not below the highest."""
Fit: TypeAlias = Literal["cover", "contain", "stretch"]
"""How a photo of another shape gets to the size: centre crop, white margins, or distortion."""

_LARGEST_16_BIT = 65535.0
_LARGEST_32_BIT = 2.0**31 - 1
_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "{}: there is no such file or folder; check the name."),
    (IsADirectoryError, "{} is a folder; name a photo, or expand the folder first."),
    (UnidentifiedImageError, "{} is not a photo in a format that can be read; save it as PNG or JPEG."),
    (Image.DecompressionBombError, "{} unpacks to too many pixels to be opened safely; make it smaller first."),
    (PermissionError, "{} may not be read; change its permissions."),
    (Exception, "{} is broken and cannot be read ({}); leave it out or get it anew."),
)


def decode(photo: Photo) -> Image.Image:
    """The upright pixels of a photo, in mode L, RGB, or F within [0, 1]; `ganenc.images.read` takes them as a photo.

    Any format that Pillow opens is taken: grey, palette, alpha (put on white), 16 bits (scaled, not cut), CMYK, turned
    by EXIF; of several frames the first. An ImageError if it is missing, no photo, broken, or unsafely large.
    """
    name = str(photo) if isinstance(photo, str | Path) else f"The photo given as {type(photo).__name__}"
    try:
        with _quiet():
            if isinstance(photo, np.ndarray):
                return _flatten(_of_array(photo, name), name)
            if isinstance(photo, Image.Image):
                return _flatten(_upright(photo), name)
            with Image.open(io.BytesIO(photo) if isinstance(photo, bytes) else photo) as opened:
                opened.load()
                return _flatten(_upright(opened), name)
    except ImageError:
        raise
    except Exception as error:  # Decoders raise many kinds on broken files.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        said = next(text for kind, text in _FAULTS if isinstance(error, kind))
        raise ImageError(said.format(name, reason)) from None


_decoding_now = 0
_filters = warnings.catch_warnings()
_turn = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of large photos and odd metadata; what matters raises. Threads may be in it together."""
    global _decoding_now, _filters
    with _turn:
        if not _decoding_now:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
        _decoding_now += 1
    try:
        yield
    finally:
        with _turn:
            _decoding_now -= 1
            if not _decoding_now:
                _filters.__exit__(None, None, None)


def _of_array(pixels: np.ndarray[Any, Any], name: str) -> Image.Image:
    """Pixels as an image of mode L, F, RGB or RGBA; colours of more than 8 bits are rounded to these."""
    shape = pixels.shape[:2] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels.shape
    plain = pixels.dtype.kind == "f" or (pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2)
    if not plain or 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise ImageError(
            f"{name} has shape {pixels.shape} and type {pixels.dtype}; give (H, W), (H, W, 3) or (H, W, 4) of 8 or 16"
            " bits, or floats."
        )
    pixels = pixels.reshape(shape)
    if pixels.dtype != np.uint8:
        pixels = _deep(pixels, name)
        pixels = pixels if len(shape) == 2 else (pixels * 255.0).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Unreadable EXIF says nothing about the direction; the pixels are fine.
        return image.copy()


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """Bring any mode to L, RGB or F: alpha on white, more than 8 bits to floats within [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_deep(np.asarray(image), name))
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if transparent:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _deep(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Values of 16 or 32 bits or floats as float32 within [0, 1], by the range that their type or size calls for."""
    if values.dtype.kind != "f" and values.dtype.itemsize == 2:
        return (values.astype(np.float32) / np.float32(_LARGEST_16_BIT)).astype(np.float32)
    precise = values.astype(np.float64)
    if not np.isfinite(precise).all():
        raise ImageError(f"{name} holds values that are not numbers; save it again with finite values.")
    top = float(precise.max(initial=0.0))
    if values.dtype.kind == "f":
        white = next((limit for limit in (1.0, 255.0, _LARGEST_16_BIT) if top <= limit), top)
    else:
        white = _LARGEST_16_BIT if top <= _LARGEST_16_BIT else _LARGEST_32_BIT
    return np.clip(precise / white, 0.0, 1.0).astype(np.float32)


def resize(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """Bring an image in mode L, RGB or F to ``size`` (height, width); see `Fit`."""
    height, width = size
    if fit == "contain":
        scale = min(width / image.width, height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        canvas = Image.new(image.mode, (width, height), 1.0 if image.mode == "F" else "white")
        canvas.paste(resample(image, inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    if fit == "cover":
        top, left, inner_height, inner_width = cover_box((image.height, image.width), size)
        image = image.crop((left, top, left + inner_width, top + inner_height))
    return resample(image, (width, height))


def cover_box(photo: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the greatest box of the shape of ``size`` around a photo's centre, both given
    as (height, width)."""
    scale = max(size[1] / photo[1], size[0] / photo[0])
    height, width = max(1, round(size[0] / scale)), max(1, round(size[1] / scale))
    return (photo[0] - height) // 2, (photo[1] - width) // 2, height, width


def resample(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """An image, or its box (left, top, right, bottom), at ``size`` (width, height): Lanczos, or bicubic to enlarge."""
    width, height = (image.width, image.height) if box is None else (box[2] - box[0], box[3] - box[1])
    shrinks = size[0] < width or size[1] < height
    return image.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC, box)


def to_array(image: Image.Image) -> np.ndarray[Any, Any]:
    """Pixels (H, W) or (H, W, 3), float32 within [0, 1]."""
    if image.mode == "F":
        return np.clip(np.asarray(image, dtype=np.float32), 0.0, 1.0)
    return np.asarray(image, dtype=np.float32) / np.float32(255.0)
