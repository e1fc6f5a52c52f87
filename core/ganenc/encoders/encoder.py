"""The encoder: images => latents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from einops import rearrange
from ganenc_registry.components import Context, build
from ganenc_registry.errors import ImageError, LatentsError, SpecError
from ganenc_registry.specs import Condition, EncoderSpec, GeneratorSpec, Map, Noise, Row, Styles, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ganenc.encoders.blocks import EncoderBlock
from ganenc.encoders.layers import ConditionalBatchNorm, Conv, Linear
from ganenc.encoders.network import EncoderNetwork
from ganenc.encoders.pooled import PooledFeatures
from ganenc.generators import Generator, check_labels
from ganenc.latents import Latents

WIDEST, NARROWEST = 512, 16
"""The widest block of a network whose widths are not known, and where its blocks are no longer halved."""
LARGER = 3
"""How many times the generator's weights an encoder may have, where its widths are measured."""


class Encoder(nn.Module):
    """Predicts a generator's latents from images alone (and their labels, where the norm is conditional).

    The layout's styles, vectors, maps and conditions are predicted, around offsets that :meth:`center_on` sets.
    Settings and noise are left out, so that the generator takes its own. The same image gives the same latents twice.
    """

    embedding: Tensor | None

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pooled = None if spec.pooled is None else PooledFeatures(spec)
        self.network = None
        if spec.network is not None:
            self.network = build("encoder", spec.network, EncoderNetwork, Context(encoder_spec=spec), at="network")
        if spec.blocks:
            self.from_image = Conv(spec.channels, spec.blocks[0].in_channels, 1, equalized=spec.equalized)
        places = (Context(block=spec.block_spec(index)) for index in range(len(spec.blocks)))
        self.blocks = nn.ModuleList(build("block", spec.block, EncoderBlock, place, at="block") for place in places)
        self.hidden = None
        if spec.hidden and any(isinstance(part, Vector | Condition) for part in spec.parts):
            flat = math.prod(spec.features)
            self.hidden = Linear(flat, spec.hidden, gain=math.sqrt(2), equalized=spec.equalized)
        self.heads = nn.ModuleList(_head(spec, part) for part in spec.parts)
        embedding = None
        if spec.norm == "conditional-batch":
            one_hot = not self._conditioned and spec.embedding == spec.classes
            embedding = torch.eye(spec.classes) if one_hot else torch.zeros(spec.classes, spec.embedding)
        self.register_buffer("embedding", embedding)

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Latents:
        """Images (N, C, H, W) in ``spec.value_range``, in any floating-point dtype (else an ImageError) => latents.

        Labels are int64 (N,) or rows (N, classes), needed where ``spec.norm`` is ``conditional-batch`` (if missing or
        not fitting, a LatentsError), else unused. Images a whole number of times as large as the encoder are averaged
        to it; an ImageError if they have another size or number of channels.
        """
        images = self.seen(images)
        if self.network is not None:
            given = self.network(images)
            around = {part.name: given[part.name] + value for part, value in self._offsets()}
            return Latents(self.spec.layout, around)
        condition = self._condition(labels, images.shape[0])
        styles: list[Tensor | None] = []
        if self.pooled is not None:
            x, styles = self.pooled(images)
        else:
            x = F.leaky_relu(self.from_image(images), self.spec.slope, inplace=True)
        for block in self.blocks:
            x, both = block(x, condition)
            styles += both
        vector = rearrange(x, "n c h w -> n (c h w)")
        if self.hidden is not None:
            vector = F.leaky_relu(self.hidden(vector), self.spec.slope)
        found = {part.name: head(x, vector, styles) for part, head in zip(self.spec.parts, self.heads, strict=True)}
        return Latents(self.spec.layout, found)

    def seen(self, images: Tensor) -> Tensor:
        """Images as `forward` takes them => from -1 to 1, at ``spec.size``, in the dtype of the weights."""
        self._check(images)
        images = averaged(images.to(next(self.parameters()).dtype), self.spec.size)
        low, high = self.spec.value_range
        return images if (low, high) == (-1.0, 1.0) else images * (2 / (high - low)) - (high + low) / (high - low)

    @property
    def start(self) -> Latents:
        """The latents of one sample around which it predicts."""
        return Latents(self.spec.layout, {part.name: value[None] for part, value in self._offsets()})

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The weights of the layers that end in latents."""
        yield from self.heads.parameters()
        if self.network is not None:
            yield from self.network.head_parameters()
        if self.hidden is not None:
            yield from self.hidden.parameters()
        if self.pooled is not None:
            yield from self.pooled.styles.parameters()
        for block in self.blocks:
            yield from cast(EncoderBlock, block).head_parameters()

    @property
    def gathers(self) -> bool:
        """Whether it has norms that gather statistics of the batches that it sees in training."""
        return any(isinstance(module, ConditionalBatchNorm | _BatchNorm) for module in self.modules())

    @torch.no_grad()
    def center_on(self, generator: Generator) -> None:
        """Take the generator's embedded labels and, where ``spec.start`` is ``center``, its mean latents as offsets; a
        LatentsError if they are not those of the encoder's spec."""
        if self.embedding is not None and self._conditioned:
            embedded = generator.embed(torch.arange(self.spec.classes, device=generator.device))
            if embedded.shape != self.embedding.shape:
                wanted, found = tuple(self.embedding.shape), tuple(embedded.shape)
                raise LatentsError(f"The encoder's labels are embedded as {wanted}; this generator's are {found}.")
            self.embedding.copy_(embedded)
        center = generator.center().tensors if self.spec.start == "center" else {}
        for part, head in zip(self.spec.parts, self.heads, strict=True):
            if part.name in center:
                value = center[part.name][0]
                if tuple(value.shape) != part.shape:
                    shapes = f"{tuple(value.shape)}, the encoder's {part.shape}"
                    raise LatentsError(f"The generator's {part.name!r} has shape {shapes}; mirror this generator anew.")
                head.get_buffer("offset").copy_(value)
        if self.network is not None:
            self.network.meet(generator, self)

    def _offsets(self) -> Iterator[tuple[Styles | Vector | Map | Condition, Tensor]]:
        return ((part, head.get_buffer("offset")) for part, head in zip(self.spec.parts, self.heads, strict=True))

    @property
    def _conditioned(self) -> bool:
        """Whether labels are embedded as the generator embeds them."""
        return any(isinstance(part, Condition) for part in self.spec.parts)

    def _check(self, images: Tensor) -> None:
        wanted = (self.spec.channels, *self.spec.size)
        if images.ndim != 4 or images.shape[1] != wanted[0] or not sees(self.spec.size, images.shape[2:]):
            found = tuple(images.shape)
            raise ImageError(
                f"The encoder takes images (N, {', '.join(map(str, wanted))}), or a whole number of times as large;"
                f" these are {found}."
            )
        if not images.is_floating_point():
            low, high = self.spec.value_range
            raise ImageError(f"The encoder takes values from {low:g} to {high:g} as floats; these are {images.dtype}.")

    def _condition(self, labels: Tensor | None, n: int) -> Tensor | None:
        """Embedded labels (N, embedding); None where the norm is unconditional."""
        if self.embedding is None:
            return None
        classes = self.spec.classes
        if labels is None:
            raise LatentsError(f"This encoder is conditional: give labels, int64 ({n},) or rows ({n}, {classes}).")
        found = check_labels(labels, classes, n, shared=False, of="this encoder").to(self.embedding.device)
        return self.embedding[found] if found.ndim == 1 else found.to(self.embedding) @ self.embedding


class StylesHead(nn.Module):
    """Gathers the blocks' style heads into W+, deepest first: -> (N, layers, dim)."""

    offset: Tensor

    def __init__(self, spec: EncoderSpec, part: Styles) -> None:
        super().__init__()
        self.columns: list[tuple[int, slice]] = [(head, _columns(spec, part, head)) for head in spec.heads_of(part)]
        self.register_buffer("offset", torch.zeros(part.shape))

    def forward(self, features: Tensor, vector: Tensor, styles: Sequence[Tensor | None]) -> Tensor:
        """(N, C, h, w), (N, F) and each style head's (N, width) -> (N, layers, dim)."""
        taken = []
        for head, columns in self.columns:
            style = styles[head]
            assert style is not None, f"the block of style head {head} gave no style"
            taken.append(style[:, columns])
        return rearrange(taken, "layers n dim -> n layers dim") + self.offset


class OffsetHead(nn.Module):
    """The offset of a part that a network predicts."""

    def __init__(self, part: Styles | Vector | Map | Condition) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(part.shape))


class VectorHead(nn.Module):
    """A fully connected layer after the last block: -> (N, dim)."""

    offset: Tensor

    def __init__(self, spec: EncoderSpec, part: Vector | Condition) -> None:
        super().__init__()
        inputs = spec.hidden or math.prod(spec.features)
        self.linear = Linear(inputs, part.dim, equalized=spec.equalized, start=spec.head_gain)
        self.register_buffer("offset", torch.zeros(part.shape))

    def forward(self, features: Tensor, vector: Tensor, styles: Sequence[Tensor | None]) -> Tensor:
        out: Tensor = self.linear(vector)
        return out + self.offset


class MapHead(nn.Module):
    """The last features, by a 1x1 convolution and a resize where shapes differ: -> (N, channels, height, width)."""

    offset: Tensor

    def __init__(self, spec: EncoderSpec, part: Map) -> None:
        super().__init__()
        channels, *size = spec.features
        self.conv = None
        if channels != part.channels:
            self.conv = Conv(channels, part.channels, 1, gain=1.0, equalized=spec.equalized)
        self.size = None if size == [part.height, part.width] else (part.height, part.width)
        self.gain = spec.map_gain
        self.register_buffer("offset", torch.zeros(part.shape))

    def forward(self, features: Tensor, vector: Tensor, styles: Sequence[Tensor | None]) -> Tensor:
        if self.conv is not None:
            features = self.conv(features)
        if self.size is not None:
            features = F.interpolate(features, self.size, mode="bilinear", align_corners=False)
        return features * self.gain + self.offset


def build_encoder(
    source: Generator | GeneratorSpec | EncoderSpec, spec: EncoderSpec | None = None, **overrides: Any
) -> Encoder:
    """Build an encoder with random weights; a SpecError if a field is wrong, or the spec does not fit the generator.

    ``source`` is a generator, whose encoder starts at its mean latents; its spec, whose encoder has offsets of zero; or
    an encoder's own spec. ``spec`` replaces the generator's mirror, ``overrides`` change its fields.
    """
    mirrored = source.spec if isinstance(source, Generator) else source
    if isinstance(mirrored, EncoderSpec):
        spec = mirrored
    elif spec is None:
        of = source if isinstance(source, Generator) else mirrored
        spec, overrides = mirror(of, **overrides), {}
    if overrides:
        spec = EncoderSpec.from_mapping({**spec.to_mapping(), **overrides})
    if isinstance(mirrored, GeneratorSpec):
        check_fits(spec, mirrored)
    encoder = Encoder(spec)
    if isinstance(source, Generator):
        encoder.center_on(source)
    return encoder


def mirror(generator: Generator | GeneratorSpec, **overrides: Any) -> EncoderSpec:
    """`EncoderSpec.mirror`, for a generator that is at hand. Where its spec gives no channels, they are measured, by
    `Generator.stages` (of a network without maps they double from block to block), and halved until the encoder has at
    most `LARGER` times the generator's weights."""
    spec = generator if isinstance(generator, GeneratorSpec) else generator.spec
    measures = overrides.keys().isdisjoint(("blocks", "network"))
    if isinstance(generator, GeneratorSpec) or spec.resolution_channels or not measures:
        return EncoderSpec.mirror(spec, **overrides)
    widths = {spec.scale((height, width)): channels for channels, height, width in generator.stages().values()}
    blocks = EncoderSpec.mirror(spec, **overrides).blocks
    whole = spec.scale(spec.size)
    widths = widths or {0: WIDEST, whole: WIDEST >> (len(blocks) - 1)}
    widths.setdefault(whole, widths[max(widths)])
    limit = LARGER * sum(tensor.numel() for tensor in generator.state_dict().values())
    while True:
        known = spec.model_copy(update={"resolution_channels": widths})
        found = EncoderSpec.mirror(known, **overrides)
        if sum(row.parameters for row in found.rows()) <= limit or max(widths.values()) <= NARROWEST:
            return found
        widths = {resolution: max(1, channels // 2) for resolution, channels in widths.items()}


def rows(spec: EncoderSpec) -> tuple[Row, ...]:
    """An encoder as a table: `EncoderSpec.rows`, or the one row of a network in place of blocks, which is built without
    values to count it."""
    if spec.network is None:
        return spec.rows()
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in Encoder(spec).parameters())
    return (Row(spec.network.name, spec.size, (), (), "none", parameters),)


def sees(size: Sequence[int], images: Sequence[int]) -> bool:
    """Whether an encoder of a size takes images (height, width): of that size, or a whole number of times as large,
    which it averages; of rows of one pixel, as long."""
    times = images[1] // size[1]
    return times > 0 and tuple(images) == (size[0] if images[0] == 1 else times * size[0], times * size[1])


def averaged(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images (N, C, H, W), averaged to a size where theirs is a whole number of times as large."""
    times = [theirs // ours for theirs, ours in zip(images.shape[2:], size)]
    return images if times == [1, 1] else F.avg_pool2d(images, times)


def check_fits(spec: EncoderSpec, generator: GeneratorSpec) -> None:
    """Raise ``SpecError`` if an encoder of ``spec`` cannot serve the generator."""
    for name in ("size", "channels", "value_range"):
        ours, theirs = getattr(spec, name), getattr(generator, name)
        if ours != theirs and not (name == "size" and sees(ours, theirs)):
            whole = ", or the generator's be a whole number of times as large" if name == "size" else ""
            raise SpecError(f"{name}: the encoder has {ours}, the generator {theirs}; they must agree{whole}.")
    for part in spec.parts:
        theirs = generator.part(part.name)
        shape = theirs.shapes if isinstance(theirs, Noise) else theirs.shape
        if (theirs.kind, shape) != (part.kind, part.shape):
            found = f"{part.kind} {part.shape} in the encoder and {theirs.kind} {shape} in the generator"
            raise SpecError(f"layout: {part.name!r} is {found}; they must agree.")


def _head(spec: EncoderSpec, part: Styles | Vector | Map | Condition) -> nn.Module:
    if spec.network is not None:
        return OffsetHead(part)
    if isinstance(part, Styles):
        return StylesHead(spec, part)
    return MapHead(spec, part) if isinstance(part, Map) else VectorHead(spec, part)


def _columns(spec: EncoderSpec, part: Styles, head: int) -> slice:
    """Where in the outputs of a style head the values of ``part`` lie: styles follow one another in layout order."""
    before = spec.parts[: spec.parts.index(part)]
    first = sum(one.dim for one in before if isinstance(one, Styles) and head in spec.heads_of(one))
    return slice(first, first + part.dim)
