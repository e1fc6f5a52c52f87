"""The table of an encoder: its layers and their sizes, computed without building it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganenc_registry.specs.layout import Condition, Map, Styles, Vector

if TYPE_CHECKING:
    from ganenc_registry.specs.encoder import EncoderSpec

__all__ = ["Row", "encoder_rows"]


@dataclass(frozen=True)
class Row:
    """One row of an encoder's table."""

    name: str
    """``image``, ``block 1`` and so on, ``hidden``, or the name of a part."""
    size: tuple[int, int]
    """Height and width of what comes in."""
    convolutions: tuple[tuple[int, int, tuple[int, int]], ...]
    """(channels in, channels out, kernel) of each convolution, the bypass left out."""
    heads: tuple[tuple[int, int], ...]
    """(inputs, outputs) of each fully connected layer but those of the norm."""
    downscale: str
    """``average``, ``stride`` or ``none``."""
    parameters: int
    """How many numbers are learned."""


def encoder_rows(spec: EncoderSpec) -> tuple[Row, ...]:
    """The rows of ``spec``, from the image to the latents. Styles leave from inside the blocks and have no row."""
    if spec.pooled is not None:
        inputs, outputs = spec.pooled.inputs, spec.pooled.directions
        width = sum(part.dim * len(set(spec.heads_of(part))) for part in spec.parts if isinstance(part, Styles))
        heads = ((inputs, outputs), *([(outputs, width)] if width else []))
        counted = sum(a * b + b for a, b in heads)
        return (Row("pooled", spec.size, (), heads, "none", counted), *_tail_rows(spec))
    if spec.network is not None:
        return ()
    first = spec.blocks[0].in_channels
    image = Row("image", spec.size, ((spec.channels, first, (1, 1)),), (), "none", spec.channels * first + first)
    blocks = tuple(_block_row(spec, index) for index in range(len(spec.blocks)))
    return (image, *blocks, *_tail_rows(spec))


def _block_row(spec: EncoderSpec, index: int) -> Row:
    block = spec.blocks[index]
    middle = block.in_channels if block.convolutions == 2 else block.out_channels
    convolutions = [(block.in_channels, middle, block.kernel)]
    if block.convolutions == 2:
        convolutions.append((middle, block.out_channels, block.kernel))
    wide = (2 * block.in_channels, 2 * middle)
    heads = tuple((a, b) for a, b in zip(wide, spec.style_widths(index)) if b)
    count = sum(a * b * math.prod(kernel) + b for a, b, kernel in convolutions) + sum(a * b + b for a, b in heads)
    if spec.noise != "none":
        count += sum(b for _, b, _ in convolutions)
    if block.in_channels != block.out_channels:
        count += block.in_channels * block.out_channels + block.out_channels
    if spec.norm == "conditional-batch":
        count += sum(2 * (spec.embedding * a + a) for a, _, _ in convolutions)
    return Row(f"block {index + 1}", block.size, tuple(convolutions), heads, block.downscale, count)


def _tail_rows(spec: EncoderSpec) -> list[Row]:
    channels, height, width = spec.features
    inputs = math.prod(spec.features)
    size = (height, width)
    rows = []
    if spec.hidden and any(isinstance(part, Vector | Condition) for part in spec.parts):
        heads = ((inputs, spec.hidden),)
        rows.append(Row("hidden", size, (), heads, "none", inputs * spec.hidden + spec.hidden))
        inputs = spec.hidden
    for part in spec.parts:
        if isinstance(part, Vector | Condition):
            rows.append(Row(part.name, size, (), ((inputs, part.dim),), "none", inputs * part.dim + part.dim))
        elif isinstance(part, Map) and part.channels != channels:
            count = channels * part.channels + part.channels
            rows.append(Row(part.name, size, ((channels, part.channels, (1, 1)),), (), "none", count))
    return rows
