"""The encoder of In-domain GAN inversion (Zhu et al., 2020): residual blocks with batch norm, and one linear layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ganenc.encoders import Encoder, EncoderNetwork
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from ganenc_registry.specs.sizes import Width
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_methods import other_formats
from ganenc_plugin_methods.parts import check_rows, rows_of, split_rows
from ganenc_plugin_methods.reading import prefixes

__all__ = ["InDomain"]

SLOPE = 0.2
BASE, MOST = 64, 1024


class InDomain(EncoderNetwork):
    """In-domain: a convolution, residual blocks each of half the resolution down to 4x4, and all latents by one linear
    layer and a batch norm."""

    class Options(Spec):
        """How wide it is."""

        widths: tuple[Width, ...] | None = Field(
            None,
            min_length=1,
            max_length=20,
            description="channels after the first convolution and after each block; by default from 64, twice as many"
            " after each block, up to 1024, until the maps are 4x4",
            json_schema_extra={"small": [8, 16, 16]},
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, "in-domain")
        height, width = self.spec.size
        count = max(0, math.floor(math.log2(max(1, min(height, width) / 4))))
        widths = self.options.widths or [min(BASE << index, MOST) for index in range(count + 1)]
        self.first = nn.Sequential(
            nn.Conv2d(self.spec.channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        )
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in itertools.pairwise(widths))
        halvings = len(widths) - 1
        inputs = widths[-1] * max(1, height >> halvings) * max(1, width >> halvings)
        outputs = sum(dim for _, dim in rows_of(self.spec))
        self.last = nn.Linear(inputs, outputs, bias=False)
        nn.init.normal_(self.last.weight)
        self.scale = 1 / math.sqrt(inputs)
        self.norm = nn.BatchNorm1d(outputs)
        nn.init.constant_(self.norm.weight, self.spec.head_gain)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.leaky_relu(self.first(images), SLOPE)
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2) if min(x.shape[2:]) > 1 else x)
        return split_rows(self.spec, self.norm(self.last(x.flatten(1)) * self.scale))

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds an encoder of In-domain GAN inversion."""
        return bool(prefixes(checkpoint, other_formats.INDOMAIN_MARK))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds; `CheckpointError` if it is damaged."""
        return other_formats.read_indomain(checkpoint)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.last.parameters()
        yield from self.norm.parameters()


class ResidualBlock(nn.Module):
    """Two convolutions beside a bypass, each with batch norm and activated; the two are added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = min(inputs, outputs)
        self.bypass = None
        if inputs != outputs:
            self.bypass = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, inner, 3, 1, 1),
            nn.BatchNorm2d(inner),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(inner, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        bypass = x if self.bypass is None else F.leaky_relu(self.bypass(x), SLOPE)
        out: Tensor = self.branch(x) + bypass
        return out
