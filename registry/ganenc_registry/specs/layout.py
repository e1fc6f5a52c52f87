"""The layout: the list of what a generator's ``synthesize`` takes, and what an encoder gives back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.sizes import MOST, Count, Width, check_values

__all__ = [
    "Condition",
    "Layout",
    "Map",
    "Noise",
    "Part",
    "Setting",
    "Styles",
    "ValueRange",
    "Vector",
    "check_layout",
    "encoded",
    "shape_text",
]


class _Shaped(Spec):
    axes: ClassVar[tuple[str, ...]] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(getattr(self, axis) for axis in self.axes)


class Styles(_Shaped):
    """Layer-wise vectors, stored as W+: a tensor (N, layers, dim)."""

    axes: ClassVar = ("layers", "dim")
    kind: Literal["styles"] = "styles"
    name: str = "w"
    layers: Count = Field(description="how many layers take a vector")
    dim: Width = Field(description="length of each vector")
    idle: tuple[int, ...] = Field(
        (), description="layers, counted from 0, that a published network numbers and ignores"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not {*self.idle} <= {*range(self.layers)}:
            raise ValueError(f"idle layers are of 0 to {self.layers - 1}, not {list(self.idle)[:8]}")
        return self


class Vector(_Shaped):
    """One vector a sample: a tensor (N, dim)."""

    axes: ClassVar = ("dim",)
    kind: Literal["vector"] = "vector"
    name: str = "z"
    dim: Width = Field(description="length of the vector")


class Map(_Shaped):
    """A feature map, such as a generator's learned constant: a tensor (N, channels, height, width)."""

    axes: ClassVar = ("channels", "height", "width")
    kind: Literal["map"] = "map"
    name: str = "const"
    channels: Width
    height: Width
    width: Width


class Condition(_Shaped):
    """A vector computed from the label, on which the network is conditioned: a tensor (N, dim)."""

    axes: ClassVar = ("dim",)
    kind: Literal["condition"] = "condition"
    name: str = "c"
    dim: Width = Field(description="length of the embedded label")


class Setting(_Shaped):
    """A scalar a sample that is carried and saved but not encoded: a tensor (N,)."""

    kind: Literal["setting"] = "setting"
    name: str
    default: float
    unit: float = Field(1.0, gt=0, description="a change that shows about as much as one of 1 in a style or vector")
    holds: Literal["truncation"] | None = Field(
        None, description="what a sample notes in it: the truncation that it was drawn with, if anything"
    )


class Noise(Spec):
    """Optional maps added layer by layer: tensors (N, \\*shape), one for each shape."""

    kind: Literal["noise"] = "noise"
    name: str = "noise"
    shapes: tuple[Annotated[tuple[Width, ...], Field(max_length=8)], ...] = Field(
        max_length=MOST, description="the shape of each layer's map, without the batch"
    )


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("the value of black must be below the value of white")
    return value


ValueRange: TypeAlias = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""The values of black and white."""
Part: TypeAlias = Annotated[Styles | Vector | Map | Condition | Setting | Noise, Field(discriminator="kind")]
Layout: TypeAlias = Annotated[tuple[Part, ...], Field(max_length=100)]


def check_layout(layout: Sequence[Part]) -> None:
    """Raise ``ValueError`` if two parts share a name, nothing is left to encode, or there is far too much of it."""
    names = [part.name for part in layout]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two parts of the layout share the name {twice[0]!r}; give each its own")
    if not any(True for _ in encoded(layout)):
        raise ValueError("the layout has no styles, vector, map or condition, so there is nothing to encode")
    if sum(part.layers for part in layout if isinstance(part, Styles)) > MOST:
        raise ValueError(f"the layout has styles for more than {MOST} layers")
    shapes = (part.shapes if isinstance(part, Noise) else (part.shape,) for part in layout)
    check_values("the latents of the layout", itertools.chain.from_iterable(shapes))


def encoded(layout: Sequence[Part]) -> Iterator[Styles | Vector | Map | Condition]:
    """The parts that an encoder predicts: all but settings and noise."""
    return (part for part in layout if isinstance(part, Styles | Vector | Map | Condition))


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people read it: ``18x512``, or ``scalar``."""
    return "x".join(map(str, shape)) or "scalar"
