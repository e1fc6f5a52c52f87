"""Photo files as upright pixels in three plain modes, and their resampling. Without tensors."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from ganenc_registry.errors import ImageError
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["Fit", "cover_box", "decode", "resample", "resize", "to_array"]

Fit: TypeAlias = Literal["cover", "contain", "stretch"]
"""How a photo of another shape gets to the size: centre crop, white margins, or distortion."""

_LARGEST_16_BIT = 65535.0
_LARGEST_32_BIT = 2.0**31 - 1


def decode(path: Path) -> Image.Image:
    """The upright pixels of a file, in mode L, RGB, or F within [0, 1]."""
    try:
        with _quiet():
            with Image.open(path) as opened:
                opened.load()
                image = _upright(opened)
            return _flatten(image, path)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file or folder; check the name.") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder; name a photo, or expand the folder first.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a photo in a format that can be read; save it as PNG or JPEG.") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} unpacks to too many pixels to be opened safely; make it smaller first.") from None
    except PermissionError:
        raise ImageError(f"{path} may not be read; change its permissions.") from None
    except Exception as error:  # Decoders raise many kinds on broken files; all of them mean this one thing.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ImageError(f"{path} is broken and cannot be read ({reason}); leave it out or get it anew.") from None


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


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Unreadable EXIF says nothing about the direction; the pixels are fine.
        return image.copy()


def _flatten(image: Image.Image, path: Path) -> Image.Image:
    """Bring any mode to L, RGB or F: alpha on white, more than 8 bits to floats within [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_deep(np.asarray(image), path))
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if transparent:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _deep(values: np.ndarray, path: Path) -> np.ndarray:
    """Grey values of 16 or 32 bits as float32 within [0, 1], scaled by the range that their type or size calls for."""
    if values.dtype.itemsize == 2:
        return (values.astype(np.float32) / np.float32(_LARGEST_16_BIT)).astype(np.float32)
    precise = values.astype(np.float64)
    if not np.isfinite(precise).all():
        raise ImageError(f"{path} holds values that are not numbers; save it again with finite values.")
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
        small = resample(image, inner)
        white: float | str = 1.0 if image.mode == "F" else "white"
        canvas = Image.new(image.mode, (width, height), white)
        canvas.paste(small, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    if fit == "cover":
        top, left, inner_height, inner_width = cover_box((image.height, image.width), size)
        image = image.crop((left, top, left + inner_width, top + inner_height))
    return resample(image, (width, height))


def cover_box(photo: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The greatest box of the shape of ``size`` around the centre of a photo, both (height, width).

    Returns:
        top, left, height and width in pixels.
    """
    scale = max(size[1] / photo[1], size[0] / photo[0])
    height, width = max(1, round(size[0] / scale)), max(1, round(size[1] / scale))
    return (photo[0] - height) // 2, (photo[1] - width) // 2, height, width


def resample(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Bring an image, or a box (left, top, right, bottom) of it, to ``size`` (width, height), with antialiasing.

    Lanczos where it shrinks, otherwise bicubic.
    """
    width, height = (image.width, image.height) if box is None else (box[2] - box[0], box[3] - box[1])
    shrinks = size[0] < width or size[1] < height
    return image.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC, box)


def to_array(image: Image.Image) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3), float32 within [0, 1]."""
    if image.mode == "F":
        return np.clip(np.asarray(image, dtype=np.float32), 0.0, 1.0)
    return np.asarray(image, dtype=np.float32) / np.float32(255.0)
