"""The style encoder of ALAE (Pidhorskyi et al., 2020): one w, summed over blocks of (mean, deviation)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from ganenc.encoders import Blur, Conv, Encoder, EncoderNetwork, Linear
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from ganenc_registry.specs.sizes import Width
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_methods import other_formats
from ganenc_plugin_methods.parts import check_rows, tied, width
from ganenc_plugin_methods.reading import prefixes

__all__ = ["ALAE"]

SLOPE = 0.2
BASE, MOST = 64, 512


class ALAE(EncoderNetwork):
    """ALAE's encoder: blocks of two convolutions, each halving; every convolution's mean and deviation add to one w,
    the same for all layers."""

    class Options(Spec):
        """How wide it is."""

        widths: tuple[Width, ...] | None = Field(
            None,
            min_length=2,
            max_length=20,
            description="channels that come into the first block, and out of each; by default from 64, twice as many"
            " after each block, up to 512, until the maps are 2x2",
            json_schema_extra={"small": [8, 16, 16, 16]},
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, "alae")
        count = max(1, math.floor(math.log2(min(self.spec.size))) - 1)
        widths = self.options.widths or [min(BASE << index, MOST) for index in range(count + 1)]
        self.first = Conv(self.spec.channels, widths[0], 1, equalized=False)
        outputs, start = width(self.spec), self.spec.head_gain / math.sqrt(2 * len(widths) - 2)
        self.blocks = nn.ModuleList(ALAEBlock(a, b, outputs, start) for a, b in itertools.pairwise(widths))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.leaky_relu(self.first(images), SLOPE * SLOPE)  # The published network activates it twice.
        total = x.new_zeros(())
        for block in self.blocks:
            x, styles = block(x)
            total = total + styles
        return tied(self.spec, total)

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds an encoder of ALAE."""
        return bool(prefixes(checkpoint, other_formats.ALAE_MARK))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds; `CheckpointError` if it is damaged."""
        return other_formats.read_alae(checkpoint)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        for block in self.blocks:
            for head in (block.get_submodule("head_1"), block.get_submodule("head_2")):
                yield from head.parameters()


class ALAEBlock(nn.Module):
    """Features (N, C, H, W) => (N, D, H / 2, W / 2), and what they add to w (N, dim)."""

    def __init__(self, inputs: int, outputs: int, dim: int, start: float) -> None:
        super().__init__()
        self.conv_1 = Conv(inputs, inputs, 3, equalized=False)
        self.head_1 = Linear(2 * inputs, dim, equalized=False, start=start)
        self.blur = Blur(inputs)
        self.conv_2 = Conv(inputs, outputs, 3, stride=True, equalized=False)
        self.head_2 = Linear(2 * outputs, dim, equalized=False, start=start)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, first = _normalised(F.leaky_relu(self.conv_1(x), SLOPE))
        x, second = _normalised(F.leaky_relu(self.conv_2(self.blur(x)), SLOPE))
        return x, self.head_1(first) + self.head_2(second)


def _normalised(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` normalised, and its means and deviations (N, 2 x C)."""
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    style = torch.cat([mean, variance.clamp_min(1e-16).sqrt()], 1).flatten(1)
    return (x - mean) * (variance + 1e-5).rsqrt(), style
