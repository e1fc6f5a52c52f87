"""What a BigGAN-deep is made of, as data. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, Count, GeneratorSpec, NonNegativeInt, Prior, Setting, Spec, Vector, Width
from pydantic import Field, model_validator
from typing_extensions import Self

__all__ = ["BigGANOptions", "Block", "biggan_spec", "published_blocks"]

Block = tuple[bool, Count, Count]
"""One block: whether it doubles height and width, then channels in and out as multiples of ``channel_width``."""

BASE = 4
WIDEST = 16
PUBLISHED_WIDTHS = {256: (16, 16, 8, 8, 4, 2, 1), 512: (16, 16, 8, 8, 4, 2, 1, 1)}
"""The released networks whose widths do not follow the rule of :func:`published_blocks`."""


class BigGANOptions(Spec):
    """What a BigGAN-deep needs besides its layout."""

    channel_width: Width = Field(128, description="channels of the last features; the unit of all widths")
    blocks: tuple[Block, ...] = Field(
        min_length=1,
        max_length=100,
        description="for each block whether it doubles the size, and its channels in and out, in units",
    )
    attention: NonNegativeInt | None = Field(
        None, description="the block, counted from 0, before which self-attention stands; none for no attention"
    )
    reduction: Width = Field(4, description="how many times narrower a block is inside than what comes in")
    n_stats: Count = Field(
        51, description="rows of running statistics, for truncations from 0 to 1; one row serves any truncation"
    )
    eps: float = Field(1e-4, gt=0, description="added to variances")
    spectral_norm: bool = Field(
        False, description="divide weights by their largest singular value in use, for training; else plain weights"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for index, (_, inputs, outputs) in enumerate(self.blocks):
            if outputs > inputs:
                raise ValueError(f"blocks.{index} widens from {inputs} to {outputs}; a block keeps or drops channels")
            if index and inputs != self.blocks[index - 1][2]:
                before = self.blocks[index - 1][2]
                raise ValueError(f"blocks.{index} takes {inputs} units, but {before} come in from the block before")
            if inputs * self.channel_width < self.reduction:
                raise ValueError(f"blocks.{index} is narrower than the reduction of {self.reduction}; widen it")
        if self.attention is not None:
            if self.attention >= len(self.blocks):
                raise ValueError(f"attention stands before block {self.attention}; there are {len(self.blocks)} blocks")
            if self.blocks[self.attention][1] * self.channel_width < 8:
                raise ValueError(f"attention before block {self.attention} needs at least 8 channels there")
        return self

    @property
    def doublings(self) -> int:
        """How often the blocks double the size."""
        return sum(up for up, _, _ in self.blocks)


def published_blocks(size: int) -> tuple[Block, ...]:
    """The blocks of the BigGAN-deep of that size (Brock et al., 2019, Tables 7 to 9), two at each resolution.

    The first keeps the size and the second doubles it; the last resolution has none of its own. At 128, 256 and 512
    they are those of the released weights. At another size each doubling halves the width, which is 16 at most.

    Raises:
        SpecError: if ``size`` is not 4 times a power of two, at least 8.
    """
    levels = (size // BASE).bit_length() - 1
    if levels < 1 or size != BASE << levels:
        raise SpecError(
            f"size: the blocks of a biggan double from {BASE}; give {BASE} times a power of two, not {size}."
        )
    widths = PUBLISHED_WIDTHS.get(size) or tuple(min(WIDEST, 1 << (levels - level)) for level in range(levels + 1))
    blocks: list[Block] = []
    for inputs, outputs in itertools.pairwise(widths):
        blocks += [(False, inputs, inputs), (True, inputs, outputs)]
    return tuple(blocks)


def biggan_spec(
    size: int | tuple[int, int],
    *,
    channel_width: int = 128,
    blocks: Sequence[Block] | None = None,
    attention: int | Literal["published"] | None = "published",
    z_dim: int = 128,
    c_dim: int = 128,
    classes: int = 1000,
    reduction: int = 4,
    n_stats: int = 51,
    eps: float = 1e-4,
    spectral_norm: bool = False,
    image_channels: int = 3,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a BigGAN-deep.

    Args:
        size: the side of square images, or height and width, which half as often as blocks double stay whole.
        channel_width: channels of the last features; the unit of all widths.
        blocks: as in :class:`BigGANOptions`; those of :func:`published_blocks` by default.
        attention: the block before which self-attention stands, None for no attention. By default the first at 64
            pixels, or at half the image's size where that is less, as in the released weights.
        z_dim: length of z.
        c_dim: length of the class embedding.
        classes: number of labels.
        reduction: how many times narrower a block is inside.
        n_stats: rows of running statistics. The released weights have 51; one is enough for a GAN of one's own.
        eps: added to variances.
        spectral_norm: whether weights are normalised in use, for training (see :meth:`BigGAN.folded`).
        image_channels: channels of the images.
        licence: licence of the weights.

    Raises:
        SpecError: if the parts do not fit together.
    """
    height, width = (size, size) if isinstance(size, int) else size
    chosen = tuple(blocks) if blocks is not None else published_blocks(min(height, width))
    fields = {
        "channel_width": channel_width,
        "blocks": chosen,
        "attention": _published_attention(chosen, min(height, width)) if attention == "published" else attention,
        "reduction": reduction,
        "n_stats": n_stats,
        "eps": eps,
        "spectral_norm": spectral_norm,
    }
    options = BigGANOptions.from_mapping(fields, where="the options of a biggan")
    base = base_size((height, width), options)
    return GeneratorSpec(
        family="biggan",
        size=(height, width),
        channels=image_channels,
        prior=Prior(kind="truncated-normal", dim=z_dim),
        layout=(Vector(dim=z_dim), Condition(dim=c_dim), Setting(name="truncation", default=1.0, holds="truncation")),
        classes=classes,
        truncation="prior",
        resolution_channels=_resolution_channels(min(base), options),
        options=options.to_mapping(),
        licence=licence,
    )


def base_size(size: tuple[int, int], options: BigGANOptions) -> tuple[int, int]:
    """Height and width of the first features: those of the images, halved as often as the blocks double.

    Raises:
        SpecError: if they do not come out whole.
    """
    step = 1 << options.doublings
    if size[0] % step or size[1] % step:
        raise SpecError(
            f"size: {size[0]}x{size[1]} cannot be halved {options.doublings} times, as often as the blocks double it;"
            f" give multiples of {step}."
        )
    return size[0] // step, size[1] // step


def _published_attention(blocks: Sequence[Block], size: int) -> int | None:
    """The first block at 64 pixels, or at half the image's size where that is less; None where there is no such."""
    side = size >> sum(up for up, _, _ in blocks)
    for index, (up, _, _) in enumerate(blocks):
        if side == min(64, size // 2):
            return index
        side <<= up
    return None


def _resolution_channels(side: int, options: BigGANOptions) -> dict[int, int]:
    """The channels with which the features leave each resolution's last block."""
    channels = {side: options.blocks[0][1] * options.channel_width}
    for up, _, outputs in options.blocks:
        side <<= up
        channels[side] = outputs * options.channel_width
    return channels
