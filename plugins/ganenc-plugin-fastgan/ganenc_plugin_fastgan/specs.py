"""What a FastGAN and a lightweight-gan are made of, as data. Imports no torch."""

from __future__ import annotations

from typing import Literal

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, Count, GeneratorSpec, Noise, Prior, Spec, Vector, Width
from pydantic import Field

__all__ = ["FastGANOptions", "LightweightGANOptions", "fastgan_spec", "lightweight_gan_spec", "sides"]

BASE = 4
"""Height and width of the first features."""


class FastGANOptions(Spec):
    """What a FastGAN needs besides its layout. The defaults are those of Projected GANs."""

    single: tuple[Width, ...] = Field(
        (), max_length=16, description="resolutions with one convolution and no noise; others have two, each with noise"
    )
    excited: tuple[Width, ...] = Field(
        (64, 128, 256, 512),
        max_length=16,
        description="resolutions whose channels are scaled by features 16 times less",
    )
    normalise_z: bool = Field(True, description="normalise z to a mean square of 1")
    bias: bool = Field(True, description="whether the last convolution has a bias")
    tanh: bool = Field(False, description="bound the image by a tanh")


class LightweightGANOptions(Spec):
    """What a lightweight-gan needs besides its layout. The defaults are those of version 1.2."""

    upsample: Literal["shuffle", "nearest", "bilinear"] = Field(
        "shuffle", description="how sizes double: by a convolution whose channels become pixels, or by interpolation"
    )
    widen: Literal["convolution", "shuffle"] = Field(
        "convolution", description="which of a level's two convolutions changes the number of channels"
    )
    blur: bool = Field(True, description="blur what has doubled")
    kernel: Literal[3, 4] = Field(4, description="side of the convolutions' kernels")
    noise: bool = Field(True, description="whether noise is added after each convolution")
    excitation: Literal["context", "frequency"] = Field(
        "context", description="what the channels 8 times larger are scaled by: pooled features, or their frequencies"
    )
    attention: tuple[Width, ...] = Field((), max_length=16, description="resolutions at which attention stands")
    heads: Count = Field(8, description="heads of the attention")
    attention_width: Width = Field(512, description="channels of all heads of the attention together")


def sides(size: int) -> list[int]:
    """The resolutions from the first features' to the images'; `SpecError` if ``size`` is no power of two of 8 pixels
    or more."""
    if size < 2 * BASE or size & (size - 1):
        raise SpecError(
            f"size: images double from {BASE} pixels; give a power of two of {2 * BASE} at least, not {size}."
        )
    return [BASE << level for level in range((size // BASE).bit_length())]


def fastgan_spec(
    size: int,
    channels: dict[int, int],
    *,
    z_dim: int = 256,
    image_channels: int = 3,
    classes: int = 0,
    c_dim: int | None = None,
    options: FastGANOptions | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a FastGAN.

    Args:
        size: side of the images, a power of two.
        channels: features at each resolution, from 4 to the images'.
        z_dim: length of z.
        image_channels: channels of the images.
        classes: number of labels; 0 where labels do not matter.
        c_dim: length of the embedded label, on which norms are conditioned; that of z by default.
        options: what differs from the architecture of Projected GANs.
        licence: licence of the weights.

    Raises:
        SpecError: if the size is no such power, channels are missing, or options name resolutions that are not there.
    """
    options = options or FastGANOptions(excited=tuple(side for side in (64, 128, 256, 512) if side <= size))
    levels = _levels(size, channels, "fastgan", above={*options.single} | {side // 8 for side in options.excited})
    noisy = [side for side in levels[1:] if side not in options.single]
    if wrong := [side for side in (*options.single, *options.excited) if side not in levels]:
        raise SpecError(f"A fastgan of {size} pixels has the resolutions {levels}, not {wrong[0]}.")
    return _spec(
        "fastgan",
        size,
        channels,
        [side for side in noisy for _ in range(2)],
        z_dim=z_dim,
        image_channels=image_channels,
        classes=classes,
        c_dim=c_dim or z_dim,
        options=options,
        licence=licence,
    )


def lightweight_gan_spec(
    size: int,
    channels: dict[int, int],
    *,
    z_dim: int = 256,
    image_channels: int = 3,
    options: LightweightGANOptions | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a lightweight-gan.

    Args:
        size: side of the images, a power of two.
        channels: features at each resolution, from 4 to the images'.
        z_dim: length of z.
        image_channels: 3, 1 for greyscale, 4 for transparent images.
        options: what differs from version 1.2.
        licence: licence of the weights.

    Raises:
        SpecError: if the size is no such power, channels are missing, or attention does not fit.
    """
    options = options or LightweightGANOptions()
    levels = _levels(size, channels, "lightweight-gan", above=set())
    if wrong := [side for side in options.attention if side not in levels[:-1]]:
        raise SpecError(
            f"The attention of a lightweight-gan of {size} pixels is at some of {levels[:-1]}, not {wrong[0]}."
        )
    if options.attention_width % options.heads:
        raise SpecError(
            f"attention_width: {options.attention_width} channels are no multiple of {options.heads} heads."
        )
    return _spec(
        "lightweight-gan",
        size,
        channels,
        levels[1:] if options.noise else [],
        z_dim=z_dim,
        image_channels=image_channels,
        options=options,
        licence=licence,
        value_range=(0.0, 1.0),
    )


def _levels(size: int, channels: dict[int, int], family: str, *, above: set[int]) -> list[int]:
    levels = sides(size)
    if missing := [side for side in levels if side not in channels]:
        raise SpecError(f"A {family} of {size} pixels needs channels at {missing[0]} pixels.")
    if wrong := [side for side in above if side < 2 * BASE]:
        raise SpecError(
            f"A {family} has no layer of that kind so near to {BASE} pixels; name larger ones than {wrong[0]}."
        )
    return levels


def _spec(
    family: str,
    size: int,
    channels: dict[int, int],
    noise: list[int],
    *,
    z_dim: int,
    image_channels: int,
    options: Spec,
    licence: str,
    classes: int = 0,
    c_dim: int = 0,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> GeneratorSpec:
    layout: list[Vector | Condition | Noise] = [Vector(dim=z_dim)]
    if classes:
        layout.append(Condition(dim=c_dim))
    if noise:
        layout.append(Noise(shapes=tuple((1, side, side) for side in noise)))
    return GeneratorSpec(
        family=family,
        size=(size, size),
        channels=image_channels,
        value_range=value_range,
        prior=Prior(dim=z_dim),
        layout=tuple(layout),
        classes=classes,
        resolution_channels=channels,
        options=options.to_mapping(),
        licence=licence,
    )
