"""The parts of a layout that the encoders of other methods predict: styles, vectors and conditions, as rows."""

from __future__ import annotations

import math

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, Layout, Map, Styles, Vector
from torch import Tensor

__all__ = ["check_rows", "rows_of", "sought", "split_rows", "tied", "width"]


def check_rows(spec: EncoderSpec, name: str) -> None:
    """Raise `SpecError` if there is a map among the parts to predict."""
    for part in spec.parts:
        if isinstance(part, Map):
            raise SpecError(
                f"The encoder {name!r} predicts styles and vectors, and {part.name!r} is a map: leave it out of the"
                " encoder's layout, so that the generator takes its own, or take another encoder."
            )


def rows_of(spec: EncoderSpec) -> list[tuple[int, int]]:
    """For every row that is predicted: its place in its part, and its length."""
    return [(place, part.shape[-1]) for part in spec.parts for place in range(_layers(part))]


def split_rows(spec: EncoderSpec, values: Tensor) -> dict[str, Tensor]:
    """The values of all rows, one after the other, (N, sum) => by part."""
    pieces = values.split([math.prod(part.shape) for part in spec.parts], 1)
    return {part.name: piece.reshape(-1, *part.shape) for part, piece in zip(spec.parts, pieces, strict=True)}


def width(spec: EncoderSpec) -> int:
    """How long one row of every part is, together."""
    return sum(dim for place, dim in rows_of(spec) if not place)


def sought(layout: Layout) -> list[str]:
    """The names of styles and vectors, which other methods seek."""
    return [part.name for part in layout if isinstance(part, Styles | Vector)]


def tied(spec: EncoderSpec, values: Tensor) -> dict[str, Tensor]:
    """One row of each part, (N, `width`) => by part, the same for all layers of styles."""
    pieces = values.split([part.shape[-1] for part in spec.parts], 1)
    return {
        part.name: piece[:, None].expand(-1, part.layers, -1) if isinstance(part, Styles) else piece
        for part, piece in zip(spec.parts, pieces, strict=True)
    }


def _layers(part: object) -> int:
    return part.layers if isinstance(part, Styles) else 1
