"""A generator that is a row of layers, as data: each layer, what it makes of a shape, and the spec of the whole.
Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, NonNegativeInt, PositiveInt, Prior, Spec, Vector
from ganenc_registry.specs.sizes import MOST, Width
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

__all__ = [
    "Activation",
    "Convolution",
    "Labels",
    "Layer",
    "Linear",
    "Norm",
    "Pad",
    "Reshape",
    "RowOptions",
    "Shape",
    "Shuffle",
    "Upsample",
    "inputs_of",
    "row_spec",
    "shapes_of",
]

Shape: TypeAlias = tuple[int, ...]
"""(C,) of a vector, (C, H, W) of a map."""
Pair: TypeAlias = tuple[PositiveInt, PositiveInt]
Edge: TypeAlias = Annotated[int, Field(ge=-1024, le=1024)]


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


class _Layer(Spec):
    weights: str = Field("", description="where a file has its tensors, such as `main.0`")

    def after(self, shape: Shape) -> Shape:
        """What it makes of a shape; a SpecError if it cannot."""
        return shape


class Linear(_Layer):
    """A fully connected layer, on a vector or on a map's values in order."""

    kind: Literal["linear"] = "linear"
    outputs: Width
    bias: bool = True

    def after(self, shape: Shape) -> Shape:
        return (self.outputs,)


class Convolution(_Layer):
    """A convolution, or a transposed one; a vector is a map of one pixel."""

    kind: Literal["convolution"] = "convolution"
    outputs: Width
    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Edge, Edge, Edge, Edge] = Field(
        (0, 0, 0, 0),
        description="above, below, left, right: zeros around the map; of a transposed one, what is cut off",
    )
    dilation: Pair = (1, 1)
    transposed: bool = False
    bias: bool = True

    _pairs = field_validator("kernel", "stride", "dilation", mode="before")(_pair)

    @field_validator("padding", mode="before")
    @classmethod
    def _four(cls, value: Any) -> Any:
        value = _pair(value)
        two = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
        return (value[0], value[0], value[1], value[1]) if two else value

    def after(self, shape: Shape) -> Shape:
        sides = []
        for axis, side in enumerate(_map(shape)[1:]):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            padded = sum(self.padding[2 * axis : 2 * axis + 2])
            if self.transposed:
                sides.append((side - 1) * self.stride[axis] + reach - padded)
            else:
                sides.append((side + padded - reach) // self.stride[axis] + 1)
        if min(sides) < 1:
            raise SpecError(f"A convolution of {self.kernel} makes nothing of a map of {shape}.")
        return (self.outputs, *sides)


class Norm(_Layer):
    """A batch norm with its running statistics, an instance norm, or a norm of groups of channels (of 1: all)."""

    kind: Literal["norm"] = "norm"
    name: Literal["batch", "instance", "group"] = "batch"
    groups: PositiveInt = 1
    eps: float = Field(1e-5, ge=0, le=10)
    affine: bool = True

    def after(self, shape: Shape) -> Shape:
        if self.name == "group" and shape[0] % self.groups:
            raise SpecError(f"{shape[0]} channels are no {self.groups} groups.")
        if self.name == "instance" and len(shape) == 1:
            raise SpecError("A vector has no instance norm; a layer norm is `name: group`.")
        return shape


class Activation(_Layer):
    """A function of each value; softmax is over the channels, PReLU has the slopes that lie at ``weights``."""

    kind: Literal["activation"] = "activation"
    name: Literal[
        "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh", "sigmoid", "softmax", "prelu"
    ]
    slope: float = Field(0.2, ge=0, le=1, description="below zero, of a leaky ReLU")


class Reshape(_Layer):
    """Values in order as a map (channels, height, width); ``channels_last`` where each pixel's lie together."""

    kind: Literal["reshape"] = "reshape"
    shape: tuple[Width, Width, Width]
    channels_last: bool = False

    def after(self, shape: Shape) -> Shape:
        if math.prod(shape) != math.prod(self.shape):
            raise SpecError(f"{math.prod(shape)} values cannot be a map of {self.shape}.")
        return self.shape


class Upsample(_Layer):
    """A map enlarged by a factor, or to a size."""

    kind: Literal["upsample"] = "upsample"
    factor: Pair = (2, 2)
    size: Pair | None = None
    mode: Literal["nearest", "bilinear"] = "nearest"

    _pairs = field_validator("factor", "size", mode="before")(_pair)

    def after(self, shape: Shape) -> Shape:
        channels, height, width = _map(shape)
        return (channels, *(self.size or (height * self.factor[0], width * self.factor[1])))


class Shuffle(_Layer):
    """Channels that become pixels, factor x factor of them each (Shi et al., 2016)."""

    kind: Literal["shuffle"] = "shuffle"
    factor: PositiveInt = 2

    def after(self, shape: Shape) -> Shape:
        channels, height, width = _map(shape)
        if channels % self.factor**2:
            raise SpecError(f"{channels} channels cannot become pixels, {self.factor} x {self.factor} each.")
        return (channels // self.factor**2, height * self.factor, width * self.factor)


class Pad(_Layer):
    """A map with zeros around it, or cut where ``edges`` are below 0."""

    kind: Literal["pad"] = "pad"
    edges: tuple[Edge, Edge, Edge, Edge] = Field(description="above, below, left, right")

    def after(self, shape: Shape) -> Shape:
        channels, height, width = _map(shape)
        sides = (height + self.edges[0] + self.edges[1], width + self.edges[2] + self.edges[3])
        if min(sides) < 1:
            raise SpecError(f"Nothing is left of a map of {shape}.")
        return (channels, *sides)


Layer: TypeAlias = Annotated[
    Linear | Convolution | Norm | Activation | Reshape | Upsample | Shuffle | Pad, Field(discriminator="kind")
]


class Labels(Spec):
    """How a class goes in: as a row with a single 1, or as a row of a table, beside z or times it."""

    kind: Literal["one_hot", "table"] = "one_hot"
    dim: Width = Field(description="length of a row")
    joined: Literal["after", "before", "times"] = Field(
        "after", description="where it goes: after z, before, or times z"
    )
    codes: NonNegativeInt = Field(
        0, description="how many numbers of z go behind a row after it, such as the continuous codes of an InfoGAN"
    )
    weights: str = Field("", description="where a file has the table")

    @model_validator(mode="after")
    def _behind(self) -> Self:
        if self.codes and self.joined != "after":
            raise ValueError("codes go behind a row that is joined after z")
        return self


class RowOptions(Spec):
    """What a row of layers needs besides its layout."""

    layers: tuple[Layer, ...] = Field(min_length=1, max_length=MOST)
    labels: Labels | None = None


def _map(shape: Shape) -> Shape:
    return shape if len(shape) == 3 else (*shape, 1, 1)


def inputs_of(z_dim: int, labels: Labels | None) -> int:
    """How many numbers go into the first layer."""
    return z_dim + (labels.dim if labels and labels.joined != "times" else 0)


def shapes_of(layers: Sequence[Any], inputs: int) -> list[Shape]:
    """The shape before each layer, and that after the last; a `SpecError` that names the layer which cannot be."""
    shapes: list[Shape] = [(inputs,)]
    for place, layer in enumerate(layers):
        try:
            shapes.append(layer.after(shapes[-1]))
        except SpecError as error:
            raise SpecError(f"layers.{place}: {error}") from None
        if math.prod(shapes[-1]) > 1 << 27:
            raise SpecError(f"layers.{place}: a map of {shapes[-1]} is larger than any network's.")
    return shapes


def row_spec(
    layers: Sequence[Any],
    *,
    z_dim: int,
    prior: Literal["normal", "uniform"] = "normal",
    labels: Labels | None = None,
    classes: int = 0,
    value_range: tuple[float, float] = (-1.0, 1.0),
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a row of layers.

    Args:
        layers: one after another, from z to the image.
        z_dim: length of z.
        prior: whether z is normal, or uniform from -1 to 1.
        labels: how classes go in, where there are ``classes``.
        classes: number of classes; 0 for none.
        value_range: that of the images.
        licence: of the weights.

    Raises:
        SpecError: if the layers do not follow one another, or do not end in a map.
    """
    last = shapes_of(layers, inputs_of(z_dim, labels))[-1]
    if len(last) != 3:
        raise SpecError(f"The last layer gives a vector of {last[0]}, no image; end with a reshape.")
    bare = [layer.model_copy(update={"weights": ""}) for layer in layers]
    options = RowOptions(layers=tuple(bare), labels=labels and labels.model_copy(update={"weights": ""}))
    return GeneratorSpec(
        family="dcgan",
        size=last[1:],
        channels=last[0],
        value_range=value_range,
        prior=Prior(kind=prior, dim=z_dim),
        layout=(Vector(dim=z_dim), *((Condition(dim=labels.dim),) if labels else ())),
        classes=classes,
        options=options.model_dump(mode="json", exclude_defaults=False),
        licence=licence,
    )
