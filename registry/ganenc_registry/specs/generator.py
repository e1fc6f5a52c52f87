"""The spec of a generator: all that the rest of the house needs to know of a GAN, as data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.layout import Layout, Part, Setting, ValueRange, check_layout
from ganenc_registry.specs.sizes import NonNegativeInt, Width, check_values

__all__ = ["CONTRACT", "GeneratorSpec", "Prior"]

CONTRACT = 1
"""The version of the generator contract that this release speaks."""


class Prior(Spec):
    """The distribution that latents are drawn from."""

    kind: Literal["normal", "truncated-normal", "uniform"] = Field(
        "normal", description="normal, normal and cut off at 2, or uniform from -1 to 1"
    )
    dim: Width = Field(description="length of z")


class GeneratorSpec(Spec):
    """What a generator takes in and gives out. A family builds a generator, with random weights, from this alone."""

    family: str = Field(description="the registered generator that this spec is for")
    size: tuple[Width, Width] = Field(
        description="height and width of the images, in pixels; one number where they are square"
    )
    channels: Width = Field(3, description="channels of the images: 3 for colour, 1 for grey")
    value_range: ValueRange = Field((-1.0, 1.0), description="the values of black and white")
    prior: Prior
    layout: Layout = Field(description="the parts that `synthesize` takes")
    classes: NonNegativeInt = Field(0, description="number of labels; 0 where labels do not matter")
    truncation: Literal["prior", "styles", "none"] = Field("none", description="what the truncation of samples acts on")
    one_hot: bool | None = Field(
        None,
        description="whether the channels of a pixel vote on its kind, as the tiles of a level do, and the highest is"
        " what is there; by default where they are more than 4",
    )
    resolution_channels: Annotated[dict[Width, Width], Field(max_length=100)] | None = Field(
        None, description="the generator's channels at each resolution (see `scale`), where known"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="what the family needs besides")
    licence: str = Field("unknown", description="licence of the weights")
    contract: int = Field(CONTRACT, ge=1, description="version of the generator contract")

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_layout(self.layout)
        check_values("an image", [(self.channels, *self.size)])
        if self.contract > CONTRACT:
            raise ValueError(
                f"this generator speaks contract {self.contract} and this ganenc knows {CONTRACT}; upgrade ganenc"
            )
        return self

    @property
    def resolution(self) -> int:
        """The shorter side of the images, in pixels."""
        return min(self.size)

    @property
    def shows(self) -> Literal["pictures", "signals", "tiles"]:
        """What the images are: tiles where they are one-hot, signals where they are one row of pixels, else pictures.
        Losses and metrics of pictures are left out for others, which people see as coloured tiles and curves."""
        if self.channels > 4 if self.one_hot is None else self.one_hot:
            return "tiles"
        return "signals" if self.size[0] == 1 else "pictures"

    def scale(self, size: tuple[int, int]) -> int:
        """The side of a map (height, width) that its channels go by: the shorter, or where the images are rows, less
        than 4 pixels high or wide, the longer."""
        return max(size) if self.resolution < 4 else min(size)

    @property
    def truncation_settings(self) -> list[str]:
        """The settings in which a sample notes the truncation that it was drawn with."""
        return [part.name for part in self.layout if isinstance(part, Setting) and part.holds == "truncation"]

    def part(self, name: str) -> Part:
        """The part of the layout with that name; `SpecError` if there is none."""
        for part in self.layout:
            if part.name == name:
                return part
        names = [part.name for part in self.layout]
        raise SpecError(f"The layout of {self.family} has no part {name!r}{nearest(name, names)}; it has {names}.")
