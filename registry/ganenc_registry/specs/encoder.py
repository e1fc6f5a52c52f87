"""The spec of an encoder, and the rule by which it mirrors a generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from ganenc_registry.errors import SpecError
from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.generator import GeneratorSpec
from ganenc_registry.specs.layout import Condition, Layout, Map, Styles, ValueRange, Vector, check_layout, encoded
from ganenc_registry.specs.rows import Row, encoder_rows
from ganenc_registry.specs.sizes import Count, NonNegativeInt, Width, check_values

__all__ = ["BlockShape", "BlockSpec", "EncoderSpec", "PooledSpec"]

WIDEST = 512
PIXEL_CHANNELS = 16384
SEEN = 256
"""The longer side, in pixels, of what a network in place of blocks sees by default, at most."""
CONSTANT_GAIN = 0.01
"""The first size of what is added to a constant."""
MAP_GAIN = 0.3
"""The same, where maps are all that there is to predict: of 0.01 to 1, what learned fastest (not in the paper)."""


Norm: TypeAlias = Literal["instance", "conditional-batch"]


class BlockShape(Spec):
    """The sizes of one block of an encoder, as Tables 9 and 10 of the paper list them."""

    size: tuple[Width, Width] = Field(description="height and width of what the block takes in")
    in_channels: Width = Field(description="channels that come in; the first of two convolutions keeps them")
    out_channels: Width = Field(description="channels that the block's last convolution gives out")
    convolutions: Literal[1, 2] = Field(
        2, description="how many 3x3 convolutions (1x3 in rows); the paper's last block has one"
    )
    downscale: Literal["average", "stride", "none"] = Field(
        "average", description="how the block halves: by averaging, by a strided last convolution, or not at all"
    )

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of its convolutions: 3, or 1 along a side of one pixel."""
        height, width = (3 if side > 1 else 1 for side in self.size)
        return height, width

    @property
    def out_size(self) -> tuple[int, int]:
        """Height and width of what the block gives out."""
        height, width = self.size
        return self.size if self.downscale == "none" else (max(1, height // 2), max(1, width // 2))


class BlockSpec(BlockShape):
    """All that a block of an encoder has to know, see :meth:`EncoderSpec.block_spec`. It is not in a file."""

    place: NonNegativeInt = Field(0, description="which of the encoder's blocks it is, from full resolution down")
    style_widths: tuple[NonNegativeInt, NonNegativeInt] = Field(
        (0, 0), description="values that its two style heads give, the shallower first; 0 for no head"
    )
    condition: NonNegativeInt = Field(0, description="length of an embedded label; 0 where the norm is unconditional")
    norm: Norm = "instance"
    residual: float | Literal["sum"] = "sum"
    blur: bool = False
    noise: Literal["none", "fixed"] = "none"
    noise_seed: int = 0
    head_gain: float = 0.1
    equalized: bool = True
    slope: float = 0.2


class PooledSpec(Spec):
    """Linear heads on pooled features of a frozen network, in place of blocks, solved for in closed form."""

    backbone: Choice | None = Field(
        None,
        description="the network; random convolutions, kept with the weights, if none",
        json_schema_extra={"kind": "backbone"},
    )
    inputs: Width = Field(description="pooled features")
    directions: Width = Field(description="directions of these that the heads see")
    styles: Count = Field(1, description="style heads; 1 gives all layers the same style")


class EncoderSpec(Spec):
    """What an encoder takes in, what it is made of and what it gives out. By default the mirror of a generator."""

    size: tuple[Width, Width] = Field(
        description="height and width of the images, in pixels; the generator's, or these divided by a whole number, so"
        " that its images are averaged first"
    )
    channels: Width = Field(3, description="channels of the images: 3 for colour, 1 for grey")
    value_range: ValueRange = Field((-1.0, 1.0), description="the values of black and white")
    layout: Layout = Field(description="the generator's layout; all its parts but settings and noise are predicted")
    classes: NonNegativeInt = Field(0, description="number of labels; 0 where labels do not matter")
    embedding: NonNegativeInt = Field(0, description="length of an embedded label, for conditional batch norm")
    blocks: tuple[BlockShape, ...] = Field(max_length=100, description="the blocks, from full resolution down")
    pooled: PooledSpec | None = Field(None, description="linear heads on a frozen network's features, without blocks")
    network: Choice | None = Field(
        None,
        description="the registered network that predicts the latents, without blocks",
        json_schema_extra={"kind": "encoder"},
    )
    block: Choice = Field(
        Choice(name="adaptive"),
        description="the registered block that all of them are made of",
        json_schema_extra={"kind": "block"},
    )
    norm: Norm = Field("instance", description="normalisation before a convolution")
    residual: float | Literal["sum"] = Field(
        "sum",
        description="share of the convolutions against the bypass, above 0 and at most 1 (the published code has"
        " 0.111); or 'sum' to add the two, which learns several times faster",
    )
    blur: bool = Field(False, description="blur before the second convolution (training strategy 2 of the paper)")
    noise: Literal["none", "fixed"] = Field(
        "none", description="'fixed' adds noise of learned strength after a convolution, always the same noise"
    )
    noise_seed: int = Field(0, ge=0, lt=2**32, description="the seed of that noise")
    start: Literal["center", "zero"] = Field(
        "center", description="what the outputs start around: the generator's mean latents, or zero as in the paper"
    )
    head_gain: float = Field(
        0.1,
        ge=0,
        description="size of the first weights of the heads of styles, vectors and conditions; 1 in the paper",
    )
    map_gain: float = Field(
        CONSTANT_GAIN,
        gt=0,
        description="factor of the features in a map; 1 in the paper, 0.3 by default where there are maps alone",
    )
    hidden: NonNegativeInt = Field(
        0, description="units between the last block and the vectors; 0 leads straight there, 256 in Table 10"
    )
    equalized: bool = Field(True, description="equalised learning rate: weights are scaled as they are used")
    slope: float = Field(0.2, ge=0, le=1, description="slope of the leaky ReLU below zero")

    @field_validator("residual", mode="plain")
    @classmethod
    def _share(cls, value: object) -> object:
        if value == "sum":
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        raise ValueError("it takes 'sum', or the share of the convolutions, above 0 and at most 1")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_layout(self.layout)
        check_values("an image", [(self.channels, *self.size)])
        check_values("a channel of the features", [block.size for block in self.blocks])
        if self.pooled is not None or self.network is not None:
            name = "network" if self.pooled is None else "pooled"
            if self.blocks or self.hidden or self.norm != "instance" or (self.pooled and self.network):
                raise ValueError(f"with `{name}` there are no blocks, no hidden units and no norm to condition")
            if self.pooled is not None:
                check_values("the directions", [(self.pooled.inputs, self.pooled.directions)])
            return self
        if not self.blocks:
            raise ValueError("there are no blocks; give at least one, or leave them out when mirroring a generator")
        if self.norm == "conditional-batch" and not (self.classes and self.embedding):
            raise ValueError(
                "the norm 'conditional-batch' needs `classes` and `embedding` above 0; without labels take 'instance'"
            )
        self._check_blocks()
        return self

    def _check_blocks(self) -> None:
        """Raise ``ValueError`` if a block does not take what comes in."""
        size, channels = self.size, self.blocks[0].in_channels
        for index, block in enumerate(self.blocks):
            if block.size != size:
                raise ValueError(f"blocks.{index}.size is {block.size}, but {size} comes in there")
            if block.in_channels != channels:
                raise ValueError(f"blocks.{index}.in_channels is {block.in_channels}, but {channels} come in there")
            size, channels = block.out_size, block.out_channels
            if block.downscale != "none" and max(block.size) == 1:
                raise ValueError(f"blocks.{index} halves {block.size} to nothing; set its downscale to 'none'")

    @classmethod
    def mirror(cls, generator: GeneratorSpec, **overrides: Any) -> EncoderSpec:
        """The encoder that mirrors a generator (Tables 9 and 10, carried on to any size and layout); ``overrides`` are
        fields of the encoder's spec, taken as given.

        There are floor(log2(min(H, W) / 4)) + 1 blocks, at least one; by the longer side where the shorter is less than
        4 pixels, as in signals, and stops at 1. Each halves, and has two convolutions, the second
        of which doubles the channels; the last has one and does neither. Channels start at min(16384 / resolution, the
        generator's there, stop) and stop at min(512, the generator's widest layer). A ``network`` in place of blocks
        sees images averaged to at most 256 pixels, and leaves maps to the generator if there is more to predict.
        """
        if overrides.get("network") is not None:
            overrides = {**_beside_blocks(generator), **overrides}
        if isinstance(overrides.get("block"), Mapping):  # Its options alone may be given.
            overrides["block"] = {"name": cls.model_fields["block"].default.name, **overrides["block"]}
        condition = next((part.dim for part in generator.layout if isinstance(part, Condition)), 0)
        norm = overrides.get("norm", "conditional-batch" if condition and generator.classes else "instance")
        fields: dict[str, Any] = {
            "size": generator.size,
            "channels": generator.channels,
            "value_range": generator.value_range,
            "layout": generator.layout,
            "classes": generator.classes,
            "embedding": (condition or generator.classes) if norm == "conditional-batch" else 0,
            "norm": norm,
            "noise": "fixed" if any(isinstance(part, Styles) for part in generator.layout) else "none",
            "hidden": 256 if condition else 0,
            "map_gain": MAP_GAIN if all(isinstance(part, Map) for part in encoded(generator.layout)) else CONSTANT_GAIN,
            **overrides,
        }
        if "blocks" not in fields:
            fields["blocks"] = _mirrored_blocks(generator, fields["size"])
        return cls.from_mapping(fields)

    @property
    def parts(self) -> tuple[Styles | Vector | Map | Condition, ...]:
        """The parts that the encoder predicts, in the layout's order."""
        return tuple(encoded(self.layout))

    @property
    def features(self) -> tuple[int, int, int]:
        """Channels, height and width of the last block's features."""
        if self.pooled is not None:
            return (self.pooled.directions, 1, 1)
        return (self.blocks[-1].out_channels, *self.blocks[-1].out_size)

    def heads_of(self, part: Styles) -> tuple[int, ...]:
        """For each layer of ``part`` the style head that it takes, nearest in relative depth. There are two heads a
        block; head 0 is the shallowest, at full resolution, and feeds the layer that comes last."""
        last = (2 * len(self.blocks) if self.pooled is None else self.pooled.styles) - 1
        steps = max(part.layers - 1, 1)
        return tuple(last - math.floor(layer * last / steps + 0.5) for layer in range(part.layers))

    def style_widths(self, index: int) -> tuple[int, int]:
        """How many outputs the two style heads of block ``index`` have, in all styles together; 0 for no head."""
        used = [(set(self.heads_of(part)), part.dim) for part in self.parts if isinstance(part, Styles)]
        first, second = (sum(dim for heads, dim in used if head in heads) for head in (2 * index, 2 * index + 1))
        return first, second

    def block_spec(self, index: int) -> BlockSpec:
        """What block ``index`` is built from."""
        shared = ("norm", "residual", "blur", "noise", "noise_seed", "head_gain", "equalized", "slope")
        return BlockSpec(
            **dict(self.blocks[index]),
            **{name: getattr(self, name) for name in shared},
            place=index,
            style_widths=self.style_widths(index),
            condition=self.embedding if self.norm == "conditional-batch" else 0,
        )

    def rows(self) -> tuple[Row, ...]:
        """The encoder as a table: the image's convolution, each block, and what follows the last one. Parameters are
        counted as the ``adaptive`` block has them; their sum is the built encoder's. A network in place of blocks has
        no rows here: it alone knows what it is made of."""
        return encoder_rows(self)


def _beside_blocks(generator: GeneratorSpec) -> dict[str, Any]:
    """Fields of an encoder whose network is not blocks."""
    height, width = generator.size
    whole = (n for n in range(1, width + 1) if width % n == 0 and (height % n == 0 or height == 1))
    times = next((n for n in whole if max(height, width) <= n * SEEN), 1)
    layout = [part for part in generator.layout if not isinstance(part, Map)]
    return {
        "size": (max(1, height // times), width // times),
        "layout": layout if any(encoded(layout)) else generator.layout,
        "blocks": (), "norm": "instance", "hidden": 0, "noise": "none",
    }  # fmt: skip


def _mirrored_blocks(generator: GeneratorSpec, size: tuple[int, int]) -> tuple[BlockShape, ...]:
    try:
        height, width = size
        resolution = generator.scale((height, width))
        count = max(1, math.floor(math.log2(resolution / 4)) + 1)
    except (TypeError, ValueError):
        raise SpecError(f"size: it takes height and width in pixels, above 0 (got {size!r}).") from None
    known = generator.resolution_channels or {}
    stop = min(WIDEST, max(known.values(), default=WIDEST))
    channels = max(1, min(PIXEL_CHANNELS // resolution, known.get(resolution, stop), stop))
    blocks = []
    for index in range(count):
        last = index == count - 1
        wider = channels if last else min(2 * channels, stop)
        blocks.append(
            BlockShape(
                size=(max(1, height >> index), max(1, width >> index)),
                in_channels=channels,
                out_channels=wider,
                convolutions=1 if last else 2,
                downscale="none" if last else "average",
            )
        )
        channels = wider
    return tuple(blocks)
