"""Photos as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from einops import rearrange, repeat
from ganenc_registry.errors import ImageError, nearest
from PIL import Image
from torch import Tensor

from ganenc.images.decoding import PICTURES, Fit, PhotoSource, decode, flatten, resize, to_array
from ganenc.images.ranges import Range, convert_range


class Photos(NamedTuple):
    """What `read_many` gives back."""

    paths: list[Path]
    """The files that could be read, in the order of ``batch``."""
    batch: Tensor
    """(N, C, H, W), float32, in the range asked for; N may be 0."""
    failures: list[tuple[Path, ImageError]]
    """The files that could not be read, and why."""


def read(
    photo: PhotoSource,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    value_range: Range = (-1.0, 1.0),
    fit: Fit = "cover",
) -> Tensor:
    """Read one photo, or what `decode` gives (fastest for several sizes), as float32 (C, H, W) in ``value_range``.

    Args:
        size: height and width to bring it to, by Lanczos (down) or bicubic (up) resampling with antialiasing.
        channels: 3 for colour and 1 for grey, what is transparent on white; 4 for RGBA; of other numbers arrays alone
            are read, which have them.
        value_range: the values of black and white in the result.
        fit: ``cover`` crops the centre to the shape of ``size``; ``contain`` keeps all of it on white margins;
            ``stretch`` changes its proportions.

    Raises:
        ImageError: as in `decode`, or if it has other channels.
    """
    if fit not in get_args(Fit):
        raise ImageError(
            f"There is no fit {fit!r}{nearest(fit, get_args(Fit))}; it is one of {', '.join(get_args(Fit))}."
        )
    image = decode(photo)
    have = image.shape[2] if isinstance(image, np.ndarray) else len(image.getbands())
    if isinstance(image, np.ndarray) if channels in PICTURES else have != channels:
        name = photo if isinstance(photo, str | Path) else "The photo"
        raise ImageError(
            f"{name} has {have} channels where {channels} are needed; give an array (H, W, {channels}), such as a file"
            " that ends in .npy."
        )
    if isinstance(image, Image.Image):
        image = image if channels == 4 else flatten(image)
        image = image if image.mode == "F" else image.convert(PICTURES[channels])
    pixels = torch.from_numpy(to_array(image if size is None else resize(image, size, fit)))
    if pixels.ndim == 2:
        pixels = repeat(pixels, "h w -> h w c", c=min(channels, 3))
        pixels = torch.cat([pixels, torch.ones_like(pixels[..., :1])], 2) if channels == 4 else pixels
    return convert_range(rearrange(pixels, "h w c -> c h w").contiguous(), (0.0, 1.0), value_range)


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
