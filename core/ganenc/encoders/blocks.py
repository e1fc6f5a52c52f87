"""The blocks that encoders are built from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from einops import rearrange
from ganenc_registry.components import Component, Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import BlockSpec, Spec
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.encoders.layers import Blur, ConditionalBatchNorm, Conv, FixedNoise, Linear, activate, halve
from ganenc.encoders.standardizing import standardize

BlockStyles = tuple[Tensor | None, Tensor | None]
"""The outputs of a block's two style heads, the shallower first: (N, width) each, None for a head of no width."""


class EncoderBlock(Component, nn.Module, ABC):
    """One block of an encoder: features and a condition => smaller features and style vectors.

    ``self.spec`` says all that it has to keep to: sizes, channels, how many values each of its two style heads gives,
    and how features are normalised, added and halved; ``self.options`` are its own. A SpecError if the context names no
    place in an encoder.
    """

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        if self.context.block is None:
            raise SpecError(f"{type(self).__name__} is built for a place: Context(block=encoder_spec.block_spec(0)).")
        self.spec: BlockSpec = self.context.block

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, BlockStyles]:
        """Features (N, spec.in_channels, *spec.size) => (N, spec.out_channels, *spec.out_size), and the style heads'
        outputs. ``condition`` is embedded labels (N, spec.condition) where the norm is conditional, otherwise None."""

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The weights of its style heads, for fine-tuning those alone; a block with heads names them here."""
        return iter(())


class AdaptiveBlock(EncoderBlock):
    """The paper's adaptive block (Figure 4, Tables 9 and 10).

    Twice: a style head on (mean, deviation), a norm, a 3x3 convolution (1x3 in a row), noise, leaky ReLU. Then it
    halves, and mixes with what came in, halved likewise and brought to the same channels by a 1x1 convolution. A block
    of one convolution (the last) has its second head after it, and there an instance norm too if that is the encoder's
    norm (as in the published code; the tables leave it out).
    """

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        spec = self.spec
        middle = spec.in_channels if spec.convolutions == 2 else spec.out_channels
        self.head_1 = self._head(spec.in_channels, spec.style_widths[0])
        self.norm_1 = self._norm(spec.in_channels)
        self.conv_1 = self._conv(spec.in_channels, middle, last=spec.convolutions == 1)
        self.noise_1 = self._noise(middle, 2 * spec.place, last=spec.convolutions == 1)
        self.head_2 = self._head(middle, spec.style_widths[1])
        if spec.convolutions == 2:
            self.norm_2 = self._norm(middle)
            self.blur = Blur(middle) if spec.blur else nn.Identity()
            self.conv_2 = self._conv(middle, spec.out_channels, last=True)
            self.noise_2 = self._noise(spec.out_channels, 2 * spec.place + 1, last=True)
        if spec.in_channels != spec.out_channels:
            self.bypass = Conv(spec.in_channels, spec.out_channels, 1, equalized=spec.equalized)

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, BlockStyles]:
        spec = self.spec
        bypass = x if spec.downscale == "none" else halve(x)
        x, style_1 = self._normalise(x, self.head_1, self.norm_1, condition)
        x = self.noise_1(self.conv_1(x))
        if spec.convolutions == 2:
            x, style_2 = self._normalise(x, self.head_2, self.norm_2, condition, spec.slope)
            x = self.noise_2(self.conv_2(self.blur(x)))
        x = activate(x, spec.slope)
        if spec.downscale == "average":
            x = halve(x)
        if spec.convolutions == 1:
            x, style_2 = self._normalise(x, self.head_2, None, None)
        if spec.in_channels != spec.out_channels:
            bypass = self.bypass(bypass)
        x = x + bypass if isinstance(spec.residual, str) else torch.lerp(bypass, x, spec.residual)
        return x, (style_1, style_2)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        for head in filter(None, (self.head_1, self.head_2)):
            yield from head.parameters()

    def _normalise(
        self,
        x: Tensor,
        head: nn.Module | None,
        norm: nn.Module | None,
        condition: Tensor | None,
        slope: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """``x`` normalised, and its style, both after a leaky ReLU if there is a slope."""
        style, instance = None, self.spec.norm == "instance"
        if slope is not None and not instance:
            x, slope = F.leaky_relu(x, slope, inplace=True), None
        if head is not None or instance:
            normal, mean, std = standardize(x, slope)
            both = rearrange([mean, std], "s n c 1 1 -> n (s c)").to(x.dtype)
            style = head(both) if head is not None else None
            x = normal if instance else x
        return (norm(x, condition) if norm is not None else x), style

    def _head(self, channels: int, width: int) -> Linear | None:
        if not width:
            return None
        return Linear(2 * channels, width, equalized=self.spec.equalized, start=self.spec.head_gain)

    def _norm(self, channels: int) -> ConditionalBatchNorm | None:
        if self.spec.norm == "instance":
            return None
        return ConditionalBatchNorm(channels, self.spec.condition, equalized=self.spec.equalized)

    def _conv(self, inputs: int, outputs: int, *, last: bool) -> Conv:
        stride = last and self.spec.downscale == "stride"
        return Conv(inputs, outputs, self.spec.kernel, stride=stride, equalized=self.spec.equalized, gain=math.sqrt(2))

    def _noise(self, channels: int, place: int, *, last: bool) -> nn.Module:
        if self.spec.noise == "none":
            return nn.Identity()
        halved = last and self.spec.downscale == "stride"
        size = self.spec.out_size if halved else self.spec.size
        return FixedNoise(channels, size, seed=self.spec.noise_seed, place=place)
