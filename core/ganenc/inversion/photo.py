"""A photo as a generator takes it, read once from whatever it is, and where in the whole photo that lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ganenc_registry.errors import ImageError
from ganenc_registry.specs import GeneratorSpec
from PIL import Image
from torch import Tensor

from ganenc.images import Fit, PhotoSource, Pixels, Range, convert_range, decode, is_array, read, to_pixels, to_rgb
from ganenc.inversion.alignment import Aligner, Transform

Readable: TypeAlias = "PhotoSource | Tensor"
"""What a photo is read from: see `ganenc.images.read`; or a tensor (C, H, W) in the generator's range, which stays as
it is where its shape is the generator's, and goes through 8 bits otherwise."""

FEATHER = 1 / 32
"""Over this part of the shorter side of what was cut out a reconstruction is blended with its photo."""


@dataclass(frozen=True)
class Photo:
    """A photo as a generator takes it."""

    target: Tensor = field(repr=False)
    """(C, H, W) in the generator's range, on the CPU."""
    name: str = "photo"
    source: Readable | None = field(default=None, repr=False)
    """What it was read from; it can be read again, aligned otherwise."""
    transform: Transform | None = None
    """Where in the whole photo it lies; None where it was brought to size without alignment."""
    picture: Pixels | None = field(default=None, repr=False)
    """The whole photo, decoded, where there is a transform; where it was let go, it is read again."""
    value_range: Range = (-1.0, 1.0)
    read_with: Mapping[str, Any] = field(default_factory=lambda: {"fit": "cover", "align": None})
    """How it was brought to size, as plain data: ``fit``, and ``align`` with its name and options or None."""

    @cached_property
    def whole(self) -> Tensor | None:
        """The whole photo, (C, height, width) in the generator's range; None without a transform, or if it is gone."""
        found = self.source if self.picture is None else self.picture
        if self.transform is None or found is None:
            return None
        try:
            picture = _decoded(found, self.value_range)
        except ImageError:
            return None
        return read(picture, channels=len(self.target), value_range=self.value_range)

    def placed(self, picture: Pixels) -> Tensor:
        """A picture as large as the photo, in grey, brought to size as the photo was: (1, h, w), from 0 to 1."""
        if self.transform is not None:
            return self.transform.apply(read(picture, channels=1, value_range=(0.0, 1.0)))
        height, width = self.target.shape[1:]
        return read(picture, size=(height, width), channels=1, value_range=(0.0, 1.0), fit=self.read_with["fit"])

    def put_back(self, reconstruction: Tensor) -> Tensor | None:
        """The whole photo with a reconstruction (C, H, W) in its place; None where there was no alignment."""
        whole = self.whole
        if self.transform is None or whole is None:
            return None
        first, second, third, _ = self.transform.corners()
        shorter = min(math.dist(first, second), math.dist(second, third))
        clamped = reconstruction.float().cpu().clamp(float(whole.min()), float(whole.max()))
        return self.transform.undo(clamped, whole, feather=round(shorter * FEATHER))


def read_photo(
    source: Readable,
    spec: GeneratorSpec,
    *,
    fit: Fit = "cover",
    aligner: Aligner | None = None,
    labels: Tensor | None = None,
    exact: bool = False,
) -> Photo:
    """Read one photo for a generator, decoded once; an ImageError if it cannot be read, or has nothing to align by.
    ``fit`` is how it gets to size where it is not aligned; ``labels`` its class, (1,) or (1, classes), if known; an
    ``exact`` one is of the size already."""
    name = Path(source).name if isinstance(source, str | Path) else "photo"
    channels, values = spec.channels, spec.value_range
    if isinstance(source, Tensor) and aligner is None and tuple(source.shape) == (channels, *spec.size):
        return Photo(source.detach().cpu(), name, source)
    if spec.shows != "pictures" and aligner is not None:
        raise ImageError(f"{name} is of {spec.shows}, which are not aligned; leave the alignment out.")
    one_hot = spec.shows == "tiles"
    if is_array(channels, spec.size, one_hot=one_hot) and aligner is None:
        array = source.detach().cpu().numpy() if isinstance(source, Tensor) else source
        found = read(array, size=spec.size, channels=channels, value_range=values, fit=fit, one_hot=one_hot)
        return Photo(found, name, source)
    if aligner is None and not exact:
        pixels = to_pixels(source, values) if isinstance(source, Tensor) else source
        return Photo(read(pixels, size=spec.size, channels=channels, value_range=values, fit=fit), name, source)
    picture = _decoded(source, values)
    found_size = picture.size[::-1] if isinstance(picture, Image.Image) else picture.shape[:2]
    if exact and found_size != tuple(spec.size):
        told = " and ".join("x".join(map(str, size)) for size in (found_size, spec.size))
        raise ImageError(
            f"{name} and what is seen through the operator have {told} pixels; give the photo as it was seen, or the"
            " operator that made it so."
        )
    if aligner is None:
        return Photo(read(picture, size=spec.size, channels=channels, value_range=values, fit=fit), name, source)
    file = str(source) if isinstance(source, str | Path) else ""
    whole = read(picture, channels=channels, value_range=values)
    coloured = isinstance(picture, Image.Image)
    seen = read(picture) if coloured else to_rgb(convert_range(whole, values, (-1.0, 1.0)))
    try:
        transform = aligner.transform(seen, spec.size, name=file, labels=labels)
    except ImageError as error:
        raise ImageError(f"{file or name}: {error}") from None
    return Photo(transform.apply(whole), name, source, transform, picture, values)


def _decoded(source: Readable, value_range: Range) -> Pixels:
    return decode(to_pixels(source, value_range) if isinstance(source, Tensor) else source)
