"""The spec of a MobileStyleGAN, from its settings alone. Importing this imports no torch."""

from __future__ import annotations

from ganenc_plugin_stylegan.specs import MappingOptions, count_levels
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec, Map, Noise, Prior, Styles

__all__ = ["PUBLISHED_CHANNELS", "mobilestylegan_spec"]

PUBLISHED_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}
"""Of the network of 1024 pixels (Belousov, 2021): as StyleGAN2's, one resolution later."""


def mobilestylegan_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    w_dim: int = 512,
    base: tuple[int, int] = (4, 4),
    image_channels: int = 3,
    options: MappingOptions | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a MobileStyleGAN: one convolution at the constant, then an inverse wavelet step and two convolutions
    at each resolution up to half the images', whose pixels come of a last inverse wavelet step (Belousov, 2021).

    Args:
        size: height and width of the images: ``base`` times a power of two, 4 at least.
        channels: features at each resolution (shorter side) from the constant's to half the images'; all but the last a
            multiple of 4, as a wavelet step makes one channel of four.
        z_dim: length of z.
        w_dim: length of each style vector.
        base: height and width of the learned constant.
        image_channels: channels of the images.
        options: what the mapping network needs besides.
        licence: licence of the weights.

    Raises:
        SpecError: if ``size`` is not ``base`` doubled some times, or ``channels`` lacks a resolution or does not fit.
    """
    levels = count_levels(size, base) - 1
    sides = [min(base) << level for level in range(levels)]
    wrong = [side for side in sides if side not in channels or (side != sides[-1] and channels[side] % 4)]
    if levels < 2 or wrong:
        raise SpecError(
            f"A MobileStyleGAN of {size[0]}x{size[1]} has two resolutions or more, {sides}, with channels at each that"
            f" 4 divides before the last{f'; look at {wrong[0]} pixels' if wrong else ''}."
        )
    shapes = [(1, base[0] << level, base[1] << level) for level in range(levels) for _ in range(2)]
    return GeneratorSpec(
        family="mobilestylegan",
        size=size,
        channels=image_channels,
        prior=Prior(dim=z_dim),
        layout=(
            Styles(layers=3 * levels - 1, dim=w_dim, idle=tuple(range(1, 3 * levels - 2, 3))),
            Map(channels=channels[min(base)], height=base[0], width=base[1]),
            Noise(shapes=tuple(shapes[1:])),
        ),
        truncation="styles",
        resolution_channels=channels,
        options=(options or MappingOptions()).model_dump(mode="json"),
        licence=licence,
    )
