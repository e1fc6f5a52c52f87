"""The encoder that starts from a discriminator's weights (the paper's reference 15): a DCGAN's, whose end gives z."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from ganenc.encoders import Encoder, EncoderNetwork
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from ganenc_registry.specs.sizes import Width
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods import other_formats
from ganenc_plugin_methods.parts import check_rows, tied, width

__all__ = ["D2E"]

BASE, MOST = 64, 1024


class D2E(EncoderNetwork):
    """A DCGAN's discriminator: 4x4 convolutions of stride 2, leaky ReLU, and a last convolution over all that is left,
    which gives one row of each part."""

    class Options(Spec):
        """How wide it is."""

        widths: tuple[Width, ...] | None = Field(
            None,
            min_length=1,
            max_length=20,
            description="channels after each convolution but the last; by default from 64, twice as many after each, up"
            " to 1024, until the maps are 4x4",
            json_schema_extra={"small": [8, 16]},
        )
        bias: bool = Field(
            False, description="convolutions have biases, as those that a discriminator's batch norm is folded into"
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, "d2e")
        height, across = self.spec.size
        count = max(1, math.floor(math.log2(max(1, min(height, across) / 4))))
        widths = [self.spec.channels, *(self.options.widths or [min(BASE << index, MOST) for index in range(count)])]
        pairs = [
            (nn.Conv2d(a, b, 4, 2, 1, bias=self.options.bias), nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(widths)
        ]
        self.trunk = nn.Sequential(*(layer for pair in pairs for layer in pair))
        left = (max(1, height >> len(pairs)), max(1, across >> len(pairs)))
        self.last = nn.Conv2d(widths[-1], width(self.spec), left)
        with torch.no_grad():
            self.last.weight.mul_(self.spec.head_gain)
            self.last.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return tied(self.spec, self.last(self.trunk(images)).flatten(1))

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds an encoder that was a DCGAN's discriminator."""
        return other_formats.is_d2e(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds; `CheckpointError` if it is damaged."""
        return other_formats.read_d2e(checkpoint)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.last.parameters()
