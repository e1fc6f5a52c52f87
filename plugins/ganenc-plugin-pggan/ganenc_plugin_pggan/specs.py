"""What a PGGAN is made of, as data. Imports no torch."""

from __future__ import annotations

from typing import Literal

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Layout, Prior, Spec, Vector
from pydantic import Field

__all__ = ["PGGANOptions", "level_sizes", "pggan_layout", "pggan_spec"]

SMALLEST = 4
"""The shorter side, in pixels, of the first level."""


class PGGANOptions(Spec):
    """What a PGGAN needs besides its layout. The defaults are the paper's."""

    slope: float = Field(0.2, ge=0, le=1, description="slope of the leaky ReLU below zero; 0 is a plain ReLU")
    pixel_norm: bool = Field(True, description="normalise each pixel's features after a convolution")
    normalise_z: bool = Field(True, description="normalise z, together with the label where there is one")
    epsilon: float = Field(1e-8, gt=0, description="what the normalisations add")
    epsilon_z: float | None = Field(None, gt=0, description="what normalising z adds, where that is something else")
    epsilon_to: Literal["square", "root"] = Field("square", description="add it to the mean square, or to its root")
    bias_per_place: bool = Field(False, description="whether each place of the first level has a bias of its own")
    tanh: bool = Field(False, description="bound the image by a tanh")
    lod: float = Field(
        0.0, ge=0, description="how many of the last levels are left out; 0 unless growing was cut short"
    )


def pggan_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    image_channels: int = 3,
    classes: int = 0,
    options: PGGANOptions | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a PGGAN.

    Args:
        size: height and width of the images: a first level, whose shorter side is 4, times a power of two.
        channels: feature channels at each resolution (shorter side), from 4 up to the images'.
        z_dim: length of z.
        image_channels: channels of the images.
        classes: number of labels; 0 where labels do not matter. Labels are the condition ``c``, rows (N, classes).
        options: what differs from the published architecture.
        licence: licence of the weights.

    Raises:
        SpecError: if the size is no such product, or channels are missing at a resolution.
    """
    options = options or PGGANOptions()
    for height, width in level_sizes(size, options.lod):
        if min(height, width) not in channels:
            raise SpecError(f"A PGGAN of {size[0]}x{size[1]} needs channels at {min(height, width)} pixels.")
    return GeneratorSpec(
        family="pggan",
        size=size,
        channels=image_channels,
        prior=Prior(dim=z_dim),
        layout=pggan_layout(z_dim, classes),
        classes=classes,
        resolution_channels=channels,
        options=options.to_mapping(),
        licence=licence,
    )


def pggan_layout(z_dim: int, classes: int) -> Layout:
    """What a PGGAN takes: ``z`` and, where labels matter, the condition ``c`` beside it."""
    return (Vector(dim=z_dim), Condition(dim=classes)) if classes else (Vector(dim=z_dim),)


def level_sizes(size: tuple[int, int], lod: float = 0.0) -> list[tuple[int, int]]:
    """Height and width of each level that draws images of ``size``, smallest first; ``lod`` leaves out the last ones.

    Raises:
        SpecError: if ``size`` is no first level, of 4 pixels, times a power of two, or ``lod`` leaves no level.
    """
    doublings = (min(size) // SMALLEST).bit_length() - 1
    height, width = (side >> max(doublings, 0) for side in size)
    if min(height, width) != SMALLEST or (height << doublings, width << doublings) != tuple(size):
        raise SpecError(
            f"A PGGAN cannot draw {size[0]}x{size[1]}: it starts at {SMALLEST} pixels and doubles each level."
        )
    if lod > doublings:
        raise SpecError(f"lod: it is at most {doublings} for images of {size[0]}x{size[1]} (got {lod:g}).")
    return [(height << level, width << level) for level in range(doublings + 1 - int(lod))]
