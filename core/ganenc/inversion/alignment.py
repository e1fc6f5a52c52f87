"""Alignment (not in paper): an `Aligner` looks at a whole photo and gives a `Transform`; ``transform.apply(photo)``
goes into `ganenc.invert`, and ``transform.undo(reconstruction, photo)`` puts what came of it back into the photo."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from ganenc_registry.components import Component
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import MANY, Choice, Spec
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from ganenc.images import cover_box, shrink
from ganenc.inversion.warping import NEAR, covered, undone, warp
from ganenc.objectives import Attention, build_attention

Box: TypeAlias = tuple[float, float, float, float]
"""Top, left, height and width in pixels."""
Row: TypeAlias = tuple[float, float, float]
Side: TypeAlias = Annotated[float, Field(ge=1, le=MANY)]

LOOK = 256
"""The longest side, in pixels, of the photo that an attention is shown to find its region."""


class Transform(Spec):
    """An affine map from the pixels of one photo to those of the generator's image, as plain data.

    A point (x, y) of the photo, counted from its left upper corner so that the middle of the first pixel is (0.5, 0.5),
    lies at ``matrix @ (x, y, 1)`` in the image. A SpecError says that the matrix cannot be undone.
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
        """The transform that cuts a box out of a photo and brings it to ``size``; sizes are (height, width)."""
        top, left, height, width = box
        x, y = size[1] / width, size[0] / height
        return cls(matrix=((x, 0.0, -left * x), (0.0, y, -top * y)), size=size, photo_size=photo_size)

    def apply(self, photo: Tensor) -> Tensor:
        """The photo (C, H, W), floats of any range and of `photo_size` (else an ImageError) => the generator's image
        (C, h, w) in the same range. Antialiased where it shrinks: Lanczos, for a turned image with bicubic places; what
        lies outside the photo is mirrored from inside; values stay within those of the photo."""
        self._check("photo", photo, self.photo_size)
        return warp(photo, self._array(), self.size)

    def undo(self, reconstruction: Tensor, photo: Tensor, *, feather: float = 0.0) -> Tensor:
        """The photo (C, H, W) with the generator's image (C, h, w), in its range, put back in its place; an ImageError
        if a size is another one. Over ``feather`` pixels of the photo the two are blended at the border, but not where
        that is the photo's own: outside is the photo itself, further inside the reconstruction alone."""
        self._check("reconstruction", reconstruction, self.size)
        self._check("photo", photo, self.photo_size)
        top, left, bottom, right = self._frame()
        if bottom <= top or right <= left:
            return photo.clone()
        matrix = self._array()
        matrix[:, 2] += matrix[:, :2] @ (left, top)
        part = warp(reconstruction.to(photo), undone(matrix)[:2], (bottom - top, right - left))
        share = covered(self._array(), self.size, self.photo_size, (top, left, bottom, right), feather).to(photo)
        whole = photo.clone()
        inside = whole[:, top:bottom, left:right]
        whole[:, top:bottom, left:right] = torch.where(share == 1, part, inside + (part - inside) * share)
        return whole

    def corners(self) -> list[tuple[float, float]]:
        """Where in the photo the corners (x, y) of the generator's image lie: left upper, right upper, then below."""
        height, width = self.size
        places = undone(self._array()) @ np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)]).T
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


class Aligner(Component, ABC):
    """Finds the generator's image in photos, each by itself."""

    @abstractmethod
    def transform(
        self, photo: Tensor, size: tuple[int, int], *, name: str = "", labels: Tensor | None = None
    ) -> Transform:
        """Where the generator's image of ``size`` (height, width) lies in a photo.

        ``photo`` (C, H, W) is from -1 to 1 with 1 or 3 channels, upright, in full resolution and any shape; ``name``
        is its file and ``labels`` its class, (1,) or (1, classes), if known. After an ImageError it is left out.
        """


class CenterAligner(Aligner):
    """The greatest crop of the generator's shape around the centre, as the fit ``cover`` takes it."""

    def transform(
        self, photo: Tensor, size: tuple[int, int], *, name: str = "", labels: Tensor | None = None
    ) -> Transform:
        whole = (photo.shape[-2], photo.shape[-1])
        return Transform.of_box(cover_box(whole, size), size, whole)


class BoxAligner(CenterAligner):
    """The crop that is given, at any place and of any shape; what lies outside the photo is mirrored from inside."""

    class Options(Spec):
        box: tuple[float, float, Side, Side] | None = Field(
            None, description="top, left, height and width in pixels of the photo; by default as center"
        )

    def transform(
        self, photo: Tensor, size: tuple[int, int], *, name: str = "", labels: Tensor | None = None
    ) -> Transform:
        if self.options.box is None:
            return super().transform(photo, size)
        return Transform.of_box(self.options.box, size, (photo.shape[-2], photo.shape[-1]))


class AttentionAligner(Aligner):
    """The least crop of the generator's shape around what an attention looks at (else the whole photo), with a margin,
    inside the photo, and of at least as many pixels as the generator's image where the photo has them."""

    class Options(Spec):
        attention: Choice | None = Field(
            None,
            description="the attention; by default the objective's, or center",
            json_schema_extra={"kind": "attention"},
        )
        margin: float = Field(
            0.15, ge=0, description="how far the crop goes beyond the region on each side, as a part of the region"
        )

    @cached_property
    def attention(self) -> Attention:
        """What looks, at photos from -1 to 1."""
        chosen = self.options.attention or self.context.attention or "center"
        return build_attention(chosen, replace(self.context, value_range=(-1.0, 1.0)))

    def transform(
        self, photo: Tensor, size: tuple[int, int], *, name: str = "", labels: Tensor | None = None
    ) -> Transform:
        whole = (photo.shape[-2], photo.shape[-1])
        seen = shrink(photo, LOOK)[None].to(self.context.device)
        with torch.no_grad():
            focus = self.attention.prepare(seen, **({} if labels is None else {"labels": labels}))
            found = self.attention.region(seen, focus)
        box = (0.0, 0.0, *whole) if found is None else found[0].tolist()
        scale = [whole[axis] / seen.shape[axis - 2] for axis in (0, 1)]
        region: Box = (box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1])
        return Transform.of_box(_around(region, size, whole, self.options.margin), size, whole)


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
