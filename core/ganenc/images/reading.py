"""Photos as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from einops import rearrange, repeat
from ganenc_registry.errors import ImageError, nearest
from torch import Tensor

from ganenc.images.decoding import Fit, Photo, decode, resize, to_array
from ganenc.images.ranges import Range, convert_range

__all__ = ["Photos", "read", "read_many"]


class Photos(NamedTuple):
    """What `read_many` gives back."""

    paths: list[Path]
    """The files that could be read, in the order of ``batch``."""
    batch: Tensor
    """(N, C, H, W), float32, in the range asked for; N may be 0."""
    failures: list[tuple[Path, ImageError]]
    """The files that could not be read, and why."""


def read(
    photo: Photo,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
) -> Tensor:
    """Read one photo, or what `decode` gives (fastest for several sizes), as float32 (C, H, W) in ``value_range``.

    Args:
        size: height and width to bring it to, by Lanczos (down) or bicubic (up) resampling with antialiasing.
        channels: 3 for colour, 1 for grey.
        value_range: the values of black and white in the result.
        fit: ``cover`` crops the centre to the shape of ``size``; ``contain`` keeps all of it on white margins;
            ``stretch`` changes its proportions.

    Raises:
        ImageError: as in `decode`.
    """
    if channels not in (1, 3):
        raise ImageError(f"Photos are read with 1 or 3 channels, not {channels}.")
    if fit not in get_args(Fit):
        raise ImageError(
            f"There is no fit {fit!r}{nearest(fit, get_args(Fit))}; it is one of {', '.join(get_args(Fit))}."
        )
    image = decode(photo)
    if image.mode != "F":
        image = image.convert("RGB" if channels == 3 else "L")
    pixels = torch.from_numpy(to_array(image if size is None else resize(image, size, fit)))
    if pixels.ndim == 2:
        made = repeat(pixels, "h w -> c h w", c=channels)
    else:
        made = rearrange(pixels, "h w c -> c h w")
    return convert_range(made.contiguous(), (0.0, 1.0), value_range)


def read_many(
    paths: Iterable[str | Path],
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
    on_error: Callable[[Path, ImageError], None] | None = None,
) -> Photos:
    """Read many photos of one size, or brought to ``size``, as one batch (else as `read`); broken ones are left out,
    and ``on_error`` is called with the file and the error as soon as one turns out to be broken."""
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


def _by(image: Tensor) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]}"
