"""Photos as upright pixels in sRGB, in a few plain modes, and their resampling. Without tensors."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from ganenc_registry.errors import ImageError
from ganenc_registry.opening import open_file
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ganenc.files import load_arrays

Pixels: TypeAlias = "Image.Image | np.ndarray[Any, Any]"
PhotoSource: TypeAlias = "str | Path | bytes | Pixels"
"""A file's path or its bytes, an image of Pillow, or pixels (H, W) or (H, W, C), of 8 or 16 bits, or floats whose white
is the least of 1, 255 and 65535 that is not below the highest; also as a file (.npy, .npz with one array). For what is
no picture see `ganenc.images.read`."""
Fit: TypeAlias = Literal["cover", "contain", "stretch"]
"""How a photo of another shape gets to the size: centre crop, white margins, or distortion."""

ARRAYS = (".npy", ".npz")
"""What files of arrays end in."""
PICTURES = {1: "L", 3: "RGB", 4: "RGBA"}
"""The modes of pictures by their channels; images of other numbers of channels are arrays."""
_NO_PHOTOS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats of Pillow's that run programs (EPS) or have no pixels without another package."""
_COMMON = frozenset({"JPEG", "PNG", "WEBP"})
_SRGB = ImageCms.createProfile("sRGB")
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


def decode(photo: PhotoSource) -> Pixels:
    """The upright pixels of a photo in sRGB, in mode L, RGB, RGBA, or F within [0, 1]; arrays of other numbers of
    channels as they are. `ganenc.images.read` takes them as a photo.

    Any format that Pillow opens is taken (see `formats`): grey, palette, alpha, 16 bits (scaled, not cut), CMYK, colour
    profiles, turned by EXIF; of several frames the first. An ImageError if it is missing, no photo, broken, or unsafely
    large.
    """
    with _telling(photo) as name:
        array = _array(photo, name)
        if array is not None:
            return _of_array(array, name)
        if isinstance(photo, Image.Image):
            return _plain(_upright(photo), name)
        with (
            io.BytesIO(photo) if isinstance(photo, bytes) else open_file(photo) as file,  # type: ignore[arg-type]
            Image.open(file, formats=formats()) as opened,
        ):
            opened.load()
            return _plain(_upright(opened), name)


def load_values(photo: PhotoSource) -> np.ndarray[Any, Any]:
    """The array that a photo is, or its file holds, as it is; an ImageError if it is none, or cannot be read."""
    with _telling(photo) as name:
        array = _array(photo, name)
        if array is None:
            raise ImageError(f"{name} is no array; what is no picture is read from files that end in .npy or .npz.")
        return array


def _array(photo: PhotoSource, name: str) -> np.ndarray[Any, Any] | None:
    """The array that a photo is, or its file holds; None for any other photo."""
    if not isinstance(photo, str | Path) or Path(photo).suffix.lower() not in ARRAYS:
        return photo if isinstance(photo, np.ndarray) else None
    found = load_arrays(photo)
    if not isinstance(found, np.ndarray):
        with found:
            if len(found.files) != 1:
                raise ImageError(f"{name} holds {len(found.files)} arrays where one is a photo; save each by itself.")
            found = found[found.files[0]]
    return np.asarray(found)


@contextmanager
def _telling(photo: PhotoSource) -> Iterator[str]:
    """What a photo is called in errors; whatever goes wrong is told as one."""
    name = str(photo) if isinstance(photo, str | Path) else f"The photo given as {type(photo).__name__}"
    try:
        with _quiet():
            yield name
    except ImageError:
        raise
    except Exception as error:  # Decoders raise many kinds on broken files.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        said = next(text for kind, text in _FAULTS if isinstance(error, kind))
        raise ImageError(said.format(name, reason)) from None


def formats() -> tuple[str, ...]:
    """The formats that photos are read from, the commonest first, as they are tried in turn: all that Pillow opens and
    are pixels alone."""
    Image.init()
    return _ordered(tuple(Image.ID))


@lru_cache(4)
def _ordered(known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*known} - _NO_PHOTOS, key=lambda name: (name not in _COMMON, known.index(name))))


_decoding_now = 0
_filters = warnings.catch_warnings()
_turn = threading.Lock()
if hasattr(os, "register_at_fork"):  # A process that is forked does not find it taken for good.
    os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release)


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


def _of_array(pixels: np.ndarray[Any, Any], name: str) -> Pixels:
    """Pixels as an image of mode L, F, RGB or RGBA, colours rounded to 8 bits; of other channels as they are."""
    plain = pixels.dtype.kind == "f" or (pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2)
    if not plain or 0 in pixels.shape or pixels.ndim not in (2, 3):
        raise ImageError(
            f"{name} has shape {pixels.shape} and type {pixels.dtype}; give (H, W) or (H, W, C) of 8 or 16 bits, or"
            " floats."
        )
    pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    if pixels.shape[2:] and pixels.shape[2] not in PICTURES:
        return pixels
    if pixels.dtype != np.uint8:
        pixels = _deep(pixels, name)
        pixels = (pixels * 255.0).round().astype(np.uint8) if pixels.ndim == 3 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Unreadable EXIF says nothing about the direction; the pixels are fine.
        return image.copy()


def _plain(image: Image.Image, name: str) -> Image.Image:
    """Bring any mode to L, RGB, RGBA or F in sRGB: more than 8 bits to floats within [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_deep(np.asarray(image), name))
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if transparent or image.mode == "P":
        image = image.convert("RGBA" if transparent else "RGB")
    transform = _to_srgb(image.info.pop("icc_profile", None) or b"", image.mode)
    if transform is not None:
        image = transform.apply(image)
        image.info = {}
    return image if image.mode in PICTURES.values() else image.convert("L" if image.mode == "1" else "RGB")


@lru_cache(16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings pixels of a profile to sRGB; None if it is damaged, of other colours than the mode, or moves none of
    some thousand colours by more than one of 255."""
    try:
        made = ImageCms.buildTransform(io.BytesIO(profile), _SRGB, mode, "RGBA" if mode == "RGBA" else "RGB")
    except ImageCms.PyCMSError:
        return None
    if mode == "CMYK":
        return made
    cube = (15 * np.indices((18, 18, 18)).reshape(3, 1, -1)).transpose(1, 2, 0).astype(np.uint8)
    before = Image.fromarray(cube).convert(mode)
    apart = np.asarray(made.apply(before).convert("RGB"), int) - np.asarray(before.convert("RGB"))
    return made if np.abs(apart).max() > 1 else None


def flatten(image: Image.Image) -> Image.Image:
    """An image in mode RGBA on white, as RGB; others as they are."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


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
    """Bring an image in mode L, RGB, RGBA or F to ``size`` (height, width); see `Fit`."""
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
    """Top, left, height and width of the greatest box of the shape of ``size``, (height, width), amid a photo."""
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


def fitted(
    photo: PhotoSource, channels: int = 3, size: tuple[int, int] | None = None, fit: Fit = "cover"
) -> np.ndarray[Any, Any]:
    """The pixels (H, W, channels) of a picture of 1, 3 or 4 channels, of 8 bits or floats within [0, 1], at a size if
    there is one; see `ganenc.images.read`."""
    image = decode(photo)
    if isinstance(image, np.ndarray):
        name = str(photo) if isinstance(photo, str | Path) else "The photo"
        raise ImageError(f"{name} has {image.shape[2]} channels where {channels} are needed; give a picture.")
    image = image if channels == 4 else flatten(image)
    image = image if image.mode in ("F", PICTURES[channels]) else image.convert(PICTURES[channels])
    values = np.asarray(image if size is None else resize(image, size, fit))
    if values.ndim == 3:
        return values
    values = np.repeat((np.clip(values, 0.0, 1.0) if image.mode == "F" else values)[..., None], min(channels, 3), 2)
    return np.concatenate([values, np.ones_like(values[..., :1])], 2) if channels == 4 else values


def as_floats(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels of 8 bits, or floats, as float32 within [0, 1]."""
    return pixels if pixels.dtype.kind == "f" else pixels.astype(np.float32) / np.float32(255.0)
