"""Alignment: where in a photo the image of a generator lies, and how it gets back there (not in paper).

An `Aligner` looks at a whole photo and gives a `Transform`; ``transform.apply(photo)`` is what goes into
`ganenc.invert`, and ``transform.undo(reconstruction, photo)`` puts what came of it back into the photo.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, PluginError, SpecError, nearest
from ganenc_registry.specs.base import Spec
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from ganenc.images import Range, convert_range, cover_box, shrink
from ganenc.inversion.warping import NEAR, covered, warp
from ganenc.objectives import Attention

__all__ = ["Aligner", "AttentionAligner", "Box", "CenterAligner", "Transform", "build_aligner"]

Box: TypeAlias = tuple[float, float, float, float]
"""Top, left, height and width in pixels."""
Row: TypeAlias = tuple[float, float, float]

LOOK = 256
"""The longest side, in pixels, of the photo that an attention is shown to find its region."""


class Transform(Spec):
    """An affine map from the pixels of one photo to those of the generator's image.

    A point (x, y) of the photo, counted from its left upper corner so that the middle of the first pixel is (0.5, 0.5),
    lies at ``matrix @ (x, y, 1)`` in the image. It is plain data: ``to_mapping`` and ``from_mapping``, or ``to_json``
    and ``from_json``, keep it.

    Raises:
        SpecError: if the matrix cannot be undone.
    """

    matrix: tuple[Row, Row] = Field(description="The two rows of the affine map, of x and of y.")
    size: tuple[int, int] = Field(description="Height and width of the generator's image.")
    photo_size: tuple[int, int] = Field(description="Height and width of the photo, upright.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if min(*self.size, *self.photo_size) < 1:
            raise ValueError("sizes are 1 pixel or more")
        if abs(float(np.linalg.det(np.asarray(self.matrix)[:, :2]))) < 1e-12:
            raise ValueError("the matrix maps the photo to a line, which cannot be undone")
        return self

    @classmethod
    def of_box(cls, box: Box, size: tuple[int, int], photo_size: tuple[int, int]) -> Transform:
        """The transform that cuts a box out of a photo and brings it to ``size``, both (height, width).

        Args:
            box: top, left, height and width in pixels of the photo.
            size: of the generator's image.
            photo_size: of the photo.
        """
        top, left, height, width = box
        x, y = size[1] / width, size[0] / height
        return cls(matrix=((x, 0.0, -left * x), (0.0, y, -top * y)), size=size, photo_size=photo_size)

    def apply(self, photo: Tensor) -> Tensor:
        """The photo => the generator's image.

        Antialiased where it shrinks: Lanczos, for a turned image with bicubic places; what lies outside the photo is
        mirrored from inside; values stay within those of the photo.

        Args:
            photo: (C, H, W) of `photo_size`, floats of any range.

        Returns:
            (C, h, w) of `size`, in the same range.

        Raises:
            ImageError: if the photo has another size.
        """
        self._check("photo", photo, self.photo_size)
        return warp(photo, self._array(), self.size)

    def undo(self, reconstruction: Tensor, photo: Tensor, *, feather: float = 0.0) -> Tensor:
        """The photo with the generator's image put back in its place.

        Args:
            reconstruction: (C, h, w) of `size`, in the range of the photo.
            photo: (C, H, W) of `photo_size`.
            feather: over so many pixels of the photo the two are blended at the border; not where that is the
                photo's own border.

        Returns:
            (C, H, W): the photo itself outside, the reconstruction alone further inside than the border.

        Raises:
            ImageError: if a size is another one.
        """
        self._check("reconstruction", reconstruction, self.size)
        self._check("photo", photo, self.photo_size)
        top, left, bottom, right = self._frame()
        if bottom <= top or right <= left:
            return photo.clone()
        matrix = self._array()
        matrix[:, 2] += matrix[:, :2] @ (left, top)
        back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
        part = warp(reconstruction.to(photo), back, (bottom - top, right - left))
        share = covered(self._array(), self.size, self.photo_size, (top, left, bottom, right), feather).to(photo)
        whole = photo.clone()
        inside = whole[:, top:bottom, left:right]
        whole[:, top:bottom, left:right] = torch.where(share == 1, part, inside + (part - inside) * share)
        return whole

    def corners(self) -> list[tuple[float, float]]:
        """Where in the photo the corners (x, y) of the generator's image lie: left upper, right upper, then below."""
        back = np.linalg.inv(np.vstack([self._array(), (0, 0, 1)]))
        height, width = self.size
        places = back @ np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)]).T
        return [(float(x), float(y)) for x, y in places[:2].T]

    def _frame(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the part of the photo that the generator's image touches, whole pixels."""
        x, y = zip(*self.corners())
        height, width = self.photo_size
        top, left = (max(0, math.floor(min(places) + NEAR)) for places in (y, x))
        bottom, right = (min(side, math.ceil(max(places) - NEAR)) for places, side in ((y, height), (x, width)))
        return top, left, bottom, right

    def _array(self) -> Any:
        return np.array(self.matrix, dtype=np.float64)

    @staticmethod
    def _check(what: str, image: Tensor, size: tuple[int, int]) -> None:
        if image.ndim != 3 or tuple(image.shape[1:]) != size:
            raise ImageError(
                f"The transform is of a {what} (C, {size[0]}, {size[1]}); this one is {tuple(image.shape)}."
            )


class Aligner(ABC):
    """Finds the generator's image in photos, each by itself.

    A registered aligner is built with those of ``attention=`` (an `Attention`) and ``value_range=`` (of its images)
    that its constructor names, and with the options that the user gives it.
    """

    @abstractmethod
    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        """Where the generator's image lies in a photo.

        Args:
            photo: (C, H, W) from -1 to 1 with 1 or 3 channels, upright, in its full resolution and any shape, as
                `ganenc.images.read` gives it.
            size: height and width of the generator's image.
            context: what the caller knows besides, such as ``labels`` (1,) or ``name``, the photo's file; names that
                mean nothing here are ignored.

        Raises:
            ImageError: if there is nothing to be found; the photo is then left out.
        """


class CenterAligner(Aligner):
    """The greatest crop of the generator's shape around the centre, as the fit ``cover`` takes it."""

    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        """The centred crop."""
        whole = (photo.shape[-2], photo.shape[-1])
        return Transform.of_box(cover_box(whole, size), size, whole)


class AttentionAligner(Aligner):
    """The least crop of the generator's shape around what an attention looks at, with a margin, inside the photo.

    It has at least as many pixels as the generator's image, where the photo has them. An attention that names no
    region is taken to look at the whole photo.

    Args:
        attention: the attention; one with `Attention.region`.
        value_range: the values of black and white that it expects.
        margin: how far the crop goes beyond the region on each side, as a part of the region.

    Raises:
        SpecError: if there is no attention, or the margin is negative.
    """

    def __init__(
        self, attention: Attention | None = None, value_range: Range = (-1.0, 1.0), *, margin: float = 0.15
    ) -> None:
        if attention is None:
            raise SpecError("The alignment 'attention' wants an attention; name one, such as center or gradcam.")
        if margin < 0:
            raise SpecError(f"The margin around a region is 0 or more, not {margin}.")
        self.attention, self.value_range, self.margin = attention, value_range, margin

    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        """The crop around the region."""
        whole = (photo.shape[-2], photo.shape[-1])
        seen = convert_range(shrink(photo, LOOK)[None], (-1.0, 1.0), self.value_range)
        if isinstance(self.attention, nn.Module):
            weights = [*self.attention.parameters(), *self.attention.buffers()]
            seen = seen.to(weights[0].device if weights else seen.device)
        with torch.no_grad():
            found = self.attention.region(seen, self.attention.prepare(seen, **context))
        box = (0.0, 0.0, *whole) if found is None else found[0].tolist()
        scale = [whole[axis] / seen.shape[axis - 2] for axis in (0, 1)]
        region: Box = (box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1])
        return Transform.of_box(_around(region, size, whole, self.margin), size, whole)


def build_aligner(
    name: str, *, attention: Attention | None = None, value_range: Range = (-1.0, 1.0), **options: Any
) -> Aligner:
    """The registered aligner of that name.

    Args:
        name: ``center``, ``attention``, or a plugin's.
        attention: for aligners that look where an attention looks.
        value_range: the values of black and white that the attention expects.
        options: of the aligner.

    Raises:
        UnknownNameError: if there is no such aligner.
        SpecError: if it has no such option, or cannot be made of them.
    """
    factory = registry().resolve("aligner", name)
    shared = {"attention": attention, "value_range": value_range}
    takes = list(inspect.signature(factory).parameters)
    known = [option for option in takes if option not in shared]
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SpecError(f"The alignment {name!r} has no option {option!r}{nearest(option, known)}; {has}.")
    try:
        made = factory(**{key: value for key, value in shared.items() if key in takes}, **options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise SpecError(f"The alignment {name!r} cannot be made of {given or 'its defaults'}: {error}.") from None
    if not isinstance(made, Aligner):
        raise PluginError(f"The aligner {name!r} builds a {type(made).__name__}, which is no Aligner.")
    return made


def _around(region: Box, size: Sequence[int], whole: Sequence[int], margin: float) -> Box:
    """The least box of the shape of ``size`` around a region and its margin, of whole pixels inside the photo."""
    top, left, height, width = region
    ratio = size[1] / size[0]
    wanted = max(height * (1 + 2 * margin), width * (1 + 2 * margin) / ratio, size[0])
    most = min(whole[0], whole[1] / ratio)
    sides = [
        max(1, min(round(side), limit)) for side, limit in zip((min(wanted, most), min(wanted, most) * ratio), whole)
    ]
    middle = (top + height / 2, left + width / 2)
    starts = [max(0, min(round(at - side / 2), limit - side)) for at, side, limit in zip(middle, sides, whole)]
    return starts[0], starts[1], sides[0], sides[1]
