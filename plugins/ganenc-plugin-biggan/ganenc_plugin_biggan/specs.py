"""What a BigGAN or BigGAN-deep is made of, as data. Imports no torch."""

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
    """What a BigGAN needs besides its layout."""

    style: Literal["deep", "plain"] = Field(
        "deep",
        description="bottlenecks of four convolutions (BigGAN-deep), or two 3x3 ones and one around them (BigGAN)",
    )
    conditioning: Literal["whole", "chunks", "class"] = Field(
        "whole",
        description="what the norms see: c with all of z, with a chunk of it for each block, or alone; the first layer"
        " takes z and c, the first chunk, or z",
    )
    embedding: bool = Field(True, description="whether c is an embedding of the label; else it is a row for the label")

    channel_width: Width = Field(128, description="channels of the last features; the unit of all widths")
    blocks: tuple[Block, ...] = Field(
        min_length=1,
        max_length=100,
        description="for each block whether it doubles the size, and its channels in and out, in units",
    )
    attention: tuple[NonNegativeInt, ...] = Field(
        (), max_length=8, description="before which blocks, counted from 0, self-attention stands; their number is last"
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
            if outputs > inputs and self.style == "deep":
                raise ValueError(f"blocks.{index} widens from {inputs} to {outputs}; a block keeps or drops channels")
            if index and inputs != self.blocks[index - 1][2]:
                before = self.blocks[index - 1][2]
                raise ValueError(f"blocks.{index} takes {inputs} units, but {before} come in from the block before")
            if inputs * self.channel_width < self.reduction and self.style == "deep":
                raise ValueError(f"blocks.{index} is narrower than the reduction of {self.reduction}; widen it")
        widths = [self.blocks[0][1], *(outputs for _, _, outputs in self.blocks)]
        for place in self.attention:
            if place > len(self.blocks):
                raise ValueError(f"attention stands before block {place}; there are {len(self.blocks)} blocks")
            if widths[place] * self.channel_width < 8:
                raise ValueError(f"attention before block {place} needs at least 8 channels there")
        if len(set(self.attention)) < len(self.attention):
            raise ValueError("attention stands twice before a block; name each once")
        return self

    @property
    def doublings(self) -> int:
        """How often the blocks double the size."""
        return sum(up for up, _, _ in self.blocks)


def published_blocks(size: int, style: str = "deep") -> tuple[Block, ...]:
    """The blocks of the BigGAN-deep of that size (Brock et al., 2019, Tables 7 to 9), two at each resolution.

    The first keeps the size and the second doubles it; the last resolution has none of its own. Of a ``plain`` BigGAN
    (Tables 4 to 6), the second alone. At 128, 256 and 512 they are those of the released weights. At another size each
    doubling halves the width, which is 16 at most.

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
        blocks += [(False, inputs, inputs)] * (style == "deep") + [(True, inputs, outputs)]
    return tuple(blocks)


def biggan_spec(
    size: int | tuple[int, int],
    *,
    channel_width: int = 128,
    blocks: Sequence[Block] | None = None,
    attention: Sequence[int] | Literal["published"] = "published",
    style: Literal["deep", "plain"] = "deep",
    conditioning: Literal["whole", "chunks", "class"] = "whole",
    embedding: bool = True,
    prior: Literal["normal", "truncated-normal"] = "truncated-normal",
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
    """The spec of a BigGAN-deep, or of a BigGAN.

    Args:
        size: the side of square images, or height and width, which half as often as blocks double stay whole.
        channel_width: channels of the last features; the unit of all widths.
        blocks: as in :class:`BigGANOptions`; those of :func:`published_blocks` by default.
        attention: the blocks before which self-attention stands. By default the first at 64 pixels, or at half the
            image's size where that is less, as in the released weights.
        style: ``plain`` for a BigGAN.
        conditioning: what the norms see, as in :class:`BigGANOptions`; with ``chunks``, z is as many as there are
            blocks, and one for the first layer.
        embedding: whether c is an embedding; without one, c is a row of classes and ``c_dim`` of no use.
        prior: what z is drawn from.
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
    chosen = tuple(blocks) if blocks is not None else published_blocks(min(height, width), style)
    fields = {
        "style": style,
        "conditioning": conditioning,
        "embedding": embedding,
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
        prior=Prior(kind=prior, dim=z_dim),
        layout=(
            Vector(dim=z_dim),
            Condition(dim=c_dim if embedding else classes),
            Setting(name="truncation", default=1.0, holds="truncation"),
        ),
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


def _published_attention(blocks: Sequence[Block], size: int) -> tuple[int, ...]:
    """The first block at 64 pixels, or at half the image's size where that is less, if there is one."""
    side = size >> sum(up for up, _, _ in blocks)
    for index, (up, _, _) in enumerate(blocks):
        if side == min(64, size // 2):
            return (index,)
        side <<= up
    return ()


def _resolution_channels(side: int, options: BigGANOptions) -> dict[int, int]:
    """The channels with which the features leave each resolution's last block."""
    channels = {side: options.blocks[0][1] * options.channel_width}
    for up, _, outputs in options.blocks:
        side <<= up
        channels[side] = outputs * options.channel_width
    return channels
