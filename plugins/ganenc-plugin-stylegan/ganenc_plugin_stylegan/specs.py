"""The specs of both StyleGANs, from their settings alone. Importing this imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Count, GeneratorSpec, Map, Noise, NonNegativeInt, Prior, Spec, Styles, Width
from pydantic import Field

__all__ = [
    "LucidrainsOptions",
    "MappingOptions",
    "StyleGAN1Options",
    "StyleGAN2Options",
    "count_levels",
    "lucidrains_spec",
    "published_channels",
    "stylegan1_spec",
    "stylegan2_spec",
]


class MappingOptions(Spec):
    """What a mapping network needs besides the lengths of z and w."""

    mapping_layers: Count = Field(8, description="fully connected layers of the mapping network")
    mapping_dim: Width | None = Field(None, description="width of the mapping network; that of w by default")
    mapping_lr_multiplier: float = Field(0.01, gt=0, description="learning rate of the mapping network, relative")
    label_dim: Width | None = Field(None, description="length of the embedded label; that of w by default")
    label_norm: Literal["own", "joint"] = Field(
        "own", description="whether the embedded label is normalised by itself (2020) or together with z (2019)"
    )


class StyleGAN1Options(MappingOptions):
    """What a StyleGAN1 needs besides its layout."""

    label_norm: Literal["own", "joint"] = Field(
        "joint", description="whether the embedded label is normalised by itself (2020) or together with z (2019)"
    )
    blur: tuple[float, ...] = Field(
        (1.0, 2.0, 1.0), max_length=64, description="taps of the low-pass filter, an odd number"
    )
    own_filters: bool = Field(False, description="keep a filter for each channel of each layer with the weights")
    before_blur: Literal["nothing", "bias", "activation"] = Field(
        "nothing", description="what an enlarging convolution is followed by before its features are filtered"
    )
    slope: float = Field(0.2, ge=0, le=1, description="slope of the leaky ReLU below zero")
    epsilon: float = Field(1e-8, gt=0, description="what AdaIN adds to variances")
    tanh: bool = Field(False, description="bound the image by a tanh")


class StyleGAN2Options(MappingOptions):
    """What a StyleGAN2 needs besides its layout."""

    fir: tuple[float, ...] = Field(
        (1.0, 3.0, 3.0, 1.0), max_length=64, description="taps of the low-pass filter, an even number"
    )
    own_filters: bool = Field(False, description="keep a filter for each layer that enlarges with the weights")
    architecture: Literal["skip", "resnet", "orig"] = Field("skip", description="how the image is gathered")
    clamp: float | None = Field(None, description="bound on the features, for half precision; none by default")


class LucidrainsOptions(MappingOptions):
    """What lucidrains' StyleGAN2 needs besides its layout."""

    mapping_lr_multiplier: float = Field(0.1, gt=0, description="learning rate of the mapping network, relative")
    initial_conv: bool = Field(True, description="whether a convolution stands before the first block")
    blur: bool = Field(True, description="whether images are blurred where they are enlarged")
    learned_const: bool = Field(True, description="whether it begins with a learned constant, or with the mean style")
    attention: tuple[NonNegativeInt, ...] = Field(
        (), max_length=16, description="blocks, from 0, before which attention stands"
    )


def lucidrains_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    w_dim: int = 512,
    base: tuple[int, int] = (4, 4),
    image_channels: int = 3,
    classes: int = 0,
    options: LucidrainsOptions | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of lucidrains' StyleGAN2: a block with one style at each resolution, and one map of noise for all.

    Arguments and errors as for :func:`stylegan1_spec`; there are no classes, and z is as long as w.
    """
    chosen = options or LucidrainsOptions()
    made = _spec(
        "stylegan2-lucidrains", 0, size, channels, z_dim, w_dim, base, image_channels, classes, chosen, licence
    )
    styles = Styles(layers=count_levels(size, base), dim=w_dim)
    if chosen.attention and max(chosen.attention) >= styles.layers:
        raise SpecError(
            f"There are {styles.layers} blocks; there is no attention before number {max(chosen.attention)}."
        )
    layout = (styles, *made.layout[1:2][: chosen.learned_const], Noise(shapes=((1, *size),)))
    return made.model_copy(update={"layout": layout, "value_range": (0.0, 1.0)})


def stylegan1_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    w_dim: int = 512,
    base: tuple[int, int] = (4, 4),
    image_channels: int = 3,
    classes: int = 0,
    options: StyleGAN1Options | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a StyleGAN1: two layers at each resolution, each with a style and noise (Karras et al., 2019).

    Args:
        size: height and width of the images: ``base`` times a power of two.
        channels: feature channels at each resolution (shorter side), from the constant's up to the images'; see
            :func:`published_channels`.
        z_dim: length of z.
        w_dim: length of each style vector.
        base: height and width of the learned constant.
        image_channels: channels of the images.
        classes: number of labels; 0 where labels do not matter.
        options: what else differs from the published architecture.
        licence: licence of the weights.

    Raises:
        SpecError: if ``size`` is not ``base`` doubled some times, or ``channels`` lacks one of its resolutions.
    """
    return _spec(
        "stylegan1",
        0,
        size,
        channels,
        z_dim,
        w_dim,
        base,
        image_channels,
        classes,
        options or StyleGAN1Options(),
        licence,
    )


def stylegan2_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    w_dim: int = 512,
    base: tuple[int, int] = (4, 4),
    image_channels: int = 3,
    classes: int = 0,
    options: StyleGAN2Options | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a StyleGAN2: one convolution at the constant, then two at each resolution (Karras et al., 2020).

    Arguments as for :func:`stylegan1_spec`.

    Raises:
        SpecError: if ``size`` is not ``base`` doubled some times, or ``channels`` lacks one of its resolutions.
    """
    return _spec(
        "stylegan2",
        1,
        size,
        channels,
        z_dim,
        w_dim,
        base,
        image_channels,
        classes,
        options or StyleGAN2Options(),
        licence,
    )


def published_channels(resolution: int, *, fmap_base: int = 8192, fmap_max: int = 512) -> dict[int, int]:
    """The channels at each resolution that NVIDIA's settings ask for: min(2 fmap_base / resolution, fmap_max).

    8192 is StyleGAN1 and StyleGAN2's configuration E (Karras et al., 2019, appendix C); 16384 is configuration F
    (Karras et al., 2020, appendix B).

    Args:
        resolution: side of the images, a power of two.
        fmap_base: what the published code calls so.
        fmap_max: the most channels that a layer has.
    """
    levels = count_levels((resolution, resolution), (4, 4))
    return {4 << level: min(2 * fmap_base // (4 << level), fmap_max) for level in range(levels)}


def count_levels(size: tuple[int, int], base: tuple[int, int]) -> int:
    """How many resolutions a network of images of ``size`` has, the one of its constant, ``base``, included.

    Raises:
        SpecError: if ``size`` is not ``base`` doubled some times.
    """
    levels = max(round(math.log2(size[0] / base[0])), 0) + 1
    if size != (base[0] << (levels - 1), base[1] << (levels - 1)):
        raise SpecError(
            f"A StyleGAN of {size[0]}x{size[1]} cannot start at {base[0]}x{base[1]}: it doubles each level."
        )
    return levels


def _spec(
    family: str,
    quiet: int,
    size: tuple[int, int],
    channels: dict[int, int],
    z_dim: int,
    w_dim: int,
    base: tuple[int, int],
    image_channels: int,
    classes: int,
    options: MappingOptions,
    licence: str,
) -> GeneratorSpec:
    """The spec of either; the first ``quiet`` of its layers, two at each resolution, have no noise."""
    levels = count_levels(size, base)
    sides = [min(base) << level for level in range(levels)]
    missing = [side for side in sides if side not in channels]
    if missing:
        raise SpecError(f"The channels at {missing[0]} pixels are missing; a StyleGAN has them at {sides}.")
    noise = [(1, base[0] << level, base[1] << level) for level in range(levels) for _ in range(2)]
    layout = (
        Styles(layers=2 * levels, dim=w_dim),
        Map(channels=channels[min(base)], height=base[0], width=base[1]),
        Noise(shapes=tuple(noise[quiet:])),
    )
    return GeneratorSpec(
        family=family,
        size=size,
        channels=image_channels,
        prior=Prior(dim=z_dim),
        layout=layout,
        classes=classes,
        truncation="styles",
        resolution_channels=channels,
        options=options.model_dump(mode="json"),
        licence=licence,
    )
