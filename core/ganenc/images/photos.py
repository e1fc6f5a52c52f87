"""Photos in and out: reading any photo as a tensor, ranges of values, PNG files and grids."""

from __future__ import annotations

import glob
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from ganenc_registry.errors import ImageError, nearest
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganenc.files import write_bytes
from ganenc.images.decoding import Fit, decode, resize, to_array

__all__ = [
    "Fit",
    "Photos",
    "Range",
    "convert_range",
    "find",
    "grid",
    "png_bytes",
    "read",
    "read_many",
    "shrink",
    "to_uint8",
    "write_png",
]

Range: TypeAlias = tuple[float, float]
"""The values of black and white."""

_LISTS = frozenset({".lst", ".txt"})
"""What the files end in that list photos, one a line."""
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})


class Photos(NamedTuple):
    """What `read_many` gives back."""

    paths: list[Path]
    """The files that could be read, in the order of ``batch``."""
    batch: Tensor
    """The photos (N, C, H, W), float32, in the range asked for."""
    failures: list[tuple[Path, ImageError]]
    """The files that could not be read, and why."""


def read(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
) -> Tensor:
    """Read one photo as a tensor.

    Any format that Pillow opens is taken: grey, palette, alpha (put on white), 16 bits (scaled, not cut), CMYK, turned
    by EXIF. Of several frames the first is read. Sizes change by Lanczos (down) or bicubic (up) resampling with
    antialiasing.

    Args:
        path: the file.
        size: height and width to bring the photo to; None leaves it as it is.
        channels: 3 for colour, 1 for grey.
        value_range: the values of black and white in the result.
        fit: ``cover`` crops the centre to the shape of ``size``; ``contain`` keeps all of it on white margins;
            ``stretch`` changes its proportions.

    Returns:
        the photo (C, H, W), float32, within ``value_range``.

    Raises:
        ImageError: if the file is missing, is not a photo, is broken, or is too large to be opened safely.
    """
    path = Path(path)
    if channels not in (1, 3):
        raise ImageError(f"Photos are read with 1 or 3 channels, not {channels} (asked for {path}).")
    if fit not in get_args(Fit):
        raise ImageError(
            f"There is no fit {fit!r}{nearest(fit, get_args(Fit))}; it is one of {', '.join(get_args(Fit))}."
        )
    image = decode(path)
    mode = "RGB" if channels == 3 else "L"
    if image.mode != "F":
        image = image.convert(mode)
    pixels = to_array(image if size is None else resize(image, size, fit))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[None], channels, axis=0)
    else:
        pixels = pixels.transpose(2, 0, 1)
    return convert_range(torch.from_numpy(np.ascontiguousarray(pixels)), (0.0, 1.0), value_range)


def read_many(
    paths: Iterable[str | Path],
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
    on_error: Callable[[Path, ImageError], None] | None = None,
) -> Photos:
    """Read many photos as one batch; a broken one is named and left out, and the rest go on.

    Args:
        paths: the files.
        size: height and width to bring all photos to; without it they must have one size.
        channels: 3 for colour, 1 for grey.
        value_range: the values of black and white in the result.
        fit: how a photo of another shape gets to the size, as in `read`.
        on_error: called with the file and the error, as soon as a file turns out to be broken.

    Returns:
        the files read, their batch (N, C, H, W) with N possibly 0, and the failures.
    """
    good: list[Path] = []
    images: list[Tensor] = []
    failures: list[tuple[Path, ImageError]] = []
    for path in map(Path, paths):
        try:
            image = read(path, size=size, channels=channels, value_range=value_range, fit=fit)
            if images and image.shape != images[0].shape:
                raise ImageError(
                    f"{path} is {_by(image)} pixels and {good[0]} is {_by(images[0])}; give a size for both."
                )
        except ImageError as error:
            failures.append((path, error))
            if on_error is not None:
                on_error(path, error)
        else:
            good.append(path)
            images.append(image)
    batch = torch.stack(images) if images else torch.empty(0, channels, *(size or (0, 0)))
    return Photos(good, batch, failures)


def find(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand folders and patterns to the photos in them, in natural order (2 before 10), each once.

    A folder gives the photos in it and below it, hidden files left out. A file that is named is kept whatever it is,
    even if it does not exist: reading it says what is wrong with it. A file that ends in ``.txt`` or ``.lst`` lists
    files, folders and patterns, one a line, in its order; what is relative there and not found from here is taken from
    the list's folder. Its blank lines, and those that begin with ``#``, say nothing.

    Args:
        paths: files, folders, patterns such as ``photos/*.jpg`` and ``photos/**/*.png``, or lists of these.

    Returns:
        the files.

    Raises:
        ImageError: if a folder, a pattern or a list gives no photo, or a list cannot be read.
    """
    found: dict[Path, None] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(given)
        for one in _listed(path) if path.suffix.lower() in _LISTS and os.path.isfile(path) else [path]:
            found.update(dict.fromkeys(_expand(one)))
    return list(found)


def convert_range(images: Tensor, src: Range, dst: Range) -> Tensor:
    """Move images from one range of values to another, without clamping; equal ranges give the same tensor back."""
    if tuple(src) == tuple(dst):
        return images
    scale = (dst[1] - dst[0]) / (src[1] - src[0])
    return images * scale + (dst[0] - src[0] * scale)


def to_uint8(images: Tensor, value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Clamp and round images to 8 bits.

    Args:
        images: floats of any shape, such as (N, C, H, W); 8-bit images are given back as they are.
        value_range: the values of black and white.

    Returns:
        uint8 of the same shape. Values that are not numbers become black.
    """
    if images.dtype == torch.uint8:
        return images
    precise = images.detach().to(torch.promote_types(images.dtype, torch.float32))
    scaled = convert_range(precise, value_range, (0.0, 255.0))
    return scaled.nan_to_num(nan=0.0, posinf=255.0, neginf=0.0).clamp(0.0, 255.0).round().to(torch.uint8)


def shrink(image: Tensor, limit: int) -> Tensor:
    """An image (C, H, W) of any size => the same, its longer side at most ``limit`` pixels, by the mean of areas."""
    height, width = image.shape[-2:]
    if max(height, width) <= limit:
        return image
    scale = limit / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return F.interpolate(image[None], size=size, mode="area")[0]


def grid(images: Tensor, columns: int | None = None, value_range: Range = (-1.0, 1.0), *, gap: int = 2) -> Tensor:
    """Put images side by side, row by row, on white.

    Args:
        images: (N, C, H, W) in ``value_range``, or 8 bits.
        columns: images in a row; by default as many as make the grid about square.
        value_range: the values of black and white.
        gap: pixels between two images.

    Returns:
        uint8 (C, height, width).

    Raises:
        ImageError: if there is no image.
    """
    if images.ndim != 4 or len(images) == 0:
        raise ImageError(
            f"A grid needs images (N, C, H, W) with N of 1 or more; these have shape {tuple(images.shape)}."
        )
    count, channels, height, width = images.shape
    columns = max(1, min(columns or math.ceil(math.sqrt(count)), count))
    rows = -(-count // columns)
    small = to_uint8(images, value_range).cpu()
    sheet = small.new_full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 255)
    for index, image in enumerate(small):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def png_bytes(image: Tensor, value_range: Range = (-1.0, 1.0)) -> bytes:
    """One image (C, H, W) with 1 or 3 channels as the bytes of a PNG file, clamped and rounded to 8 bits.

    Raises:
        ImageError: if the shape is another.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"A PNG file takes one image (C, H, W) with 1 or 3 channels, not {tuple(image.shape)}.")
    pixels = to_uint8(image, value_range).cpu().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path: str | Path, image: Tensor, *, value_range: Range = (-1.0, 1.0)) -> None:
    """Write one image (C, H, W) as a PNG file, atomically, clamped and rounded to 8 bits.

    Raises:
        ImageError: if the shape is another.
        GanencError: if the file cannot be written.
    """
    write_bytes(path, png_bytes(image, value_range))


def _by(image: Tensor) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]}"


def _listed(path: Path) -> list[Path]:
    """What a list of files, folders and patterns names."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"The list {path} cannot be read ({error}); it holds a photo's path on each line.") from None
    named = [Path(line) for line in map(str.strip, lines) if line and not line.startswith("#")]
    if not named:
        raise ImageError(f"The list {path} names no photo; write a photo's path on each line.")
    return [one if os.path.exists(one) or one.is_absolute() or _matches(one) else path.parent / one for one in named]


def _matches(path: Path) -> bool:
    """Whether a pattern finds anything."""
    return glob.has_magic(str(path)) and next(glob.iglob(str(path), recursive=True), None) is not None


def _expand(path: Path) -> list[Path]:
    if os.path.isdir(path):  # Unlike the path's own method, it takes a name that no system allows.
        files = list(_inside(path))
    elif not os.path.exists(path) and glob.has_magic(str(path)):
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
    else:
        return [path]
    if not files:
        raise ImageError(f"There is no photo in {path}; photos end in {', '.join(sorted(_SUFFIXES))}.")
    return sorted(files, key=_natural)


def _inside(folder: Path) -> Iterator[Path]:
    """The photos in a folder and below it, also behind links to folders, each folder once; hidden ones left out."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        for name in names if real not in seen else []:
            file = Path(place, name)
            if file.suffix.lower() in _SUFFIXES and not name.startswith(".") and os.path.isfile(file):
                yield file
        seen.add(real)


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """A key by which 2 comes before 10, folder by folder."""
    runs = [re.findall(r"\d+|\D+", part) for part in path.parts]
    return [[(0, int(run), run) if run.isdecimal() else (1, 0, run.lower()) for run in part] for part in runs]
