"""pSp (Richardson et al., 2021) and e4e (Tov et al., 2021): a feature pyramid, and a stack of convolutions a style."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from ganenc.encoders import Encoder, EncoderNetwork, Linear
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from ganenc_registry.specs.sizes import NonNegativeInt
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_methods import style_formats
from ganenc_plugin_methods.parts import check_rows, rows_of, split_rows
from ganenc_plugin_methods.trunks import TrunkOptions, make_trunk, sides

__all__ = ["E4E", "PSP", "StyleNetwork", "StyleStack"]


class StyleStack(nn.Module):
    """Features (N, C, h, w) => one style (N, dim): 3x3 convolutions of stride 2 down to a pixel, and a linear layer."""

    def __init__(self, inputs: int, dim: int, size: tuple[int, int], start: float) -> None:
        super().__init__()
        count = max(1, math.ceil(math.log2(max(size))))
        widths = [inputs, *[dim] * count]
        layers = [(nn.Conv2d(a, b, 3, 2, 1), nn.LeakyReLU()) for a, b in itertools.pairwise(widths)]
        self.convs = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.linear = Linear(dim, dim, start=start)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.convs(x).flatten(1))
        return out


class StyleNetwork(EncoderNetwork):
    """What pSp, e4e and ReStyle share: a trunk, and a `StyleStack` for each row of the latents."""

    inputs: ClassVar[int] = 1
    """How many images it sees, beside one another."""
    published: ClassVar[str] = ""
    """What it is registered as."""

    class Options(TrunkOptions):
        """What it stands on."""

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, self.published)
        chosen = self.options
        size = chosen.view or self.spec.size
        self.trunk = make_trunk(chosen, self.inputs * self.spec.channels, size)
        self.rows = rows_of(self.spec)
        deepest = chosen.widths[3]
        self.stacks = nn.ModuleList(
            StyleStack(deepest, dim, sides(size, 4 - self.level(place)), self.spec.head_gain)
            for place, dim in self.rows
        )
        levels = max(self.level(place) for place, _ in self.rows)
        self.laterals = nn.ModuleList(nn.Conv2d(chosen.widths[2 - level], deepest, 1) for level in range(levels))
        self.stage = len(self.rows)
        """How many rows give an offset of their own, where there is one w for all; the others follow it."""

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds an encoder of this kind, or what is like it and not supported."""
        return style_formats.kind_of(checkpoint) == cls.published

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds; `CheckpointError` if it is damaged, or does not tell what it is."""
        return style_formats.read(checkpoint, cls.published)

    @property
    def shares(self) -> bool:
        """Whether the first row of a part is a w for all of its layers, and the others are offsets from it."""
        return False

    def level(self, place: int) -> int:
        """Which map of the pyramid a row is read from: 0 for the coarsest, up to 2."""
        return 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.predict(images)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, inputs x channels, H, W) => the values of every part."""
        features = self.trunk(self.options.seen(images))
        maps = [features[3]]
        for lateral, finer in zip(self.laterals, reversed(features[:3])):
            shape = finer.shape[2:]
            above = F.interpolate(maps[-1], shape, mode="bilinear", align_corners=True)
            maps.append(above + lateral(finer))
        out: list[Tensor] = []
        for (place, _), stack in zip(self.rows, self.stacks, strict=True):
            if not (self.shares and place):
                out.append(stack(maps[self.level(place)]))
                first = out[-1]
            else:
                out.append(first + stack(maps[self.level(place)]) if place < self.stage else first)
        return split_rows(self.spec, torch.cat(out, 1))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        for stack in self.stacks:
            yield from stack.get_submodule("linear").parameters()


class PSP(StyleNetwork):
    """pSp: coarse rows are read from a sixteenth of the resolution, middle ones from an eighth, fine from a quarter."""

    published: ClassVar[str] = "psp"

    class Options(TrunkOptions):
        """What it stands on, and which rows are read where."""

        coarse: NonNegativeInt = Field(3, description="rows that are read from the coarsest map")
        middle: NonNegativeInt = Field(4, description="rows after them that are read from the middle map")

    def level(self, place: int) -> int:
        coarse = self.options.coarse
        return int(place >= coarse) + int(place >= coarse + self.options.middle)


class E4E(PSP):
    """e4e: as pSp, with one w for all layers, and an offset from it for each but the first. ``stage`` rows have theirs,
    all of them unless a recipe lets them join one by one."""

    published: ClassVar[str] = "e4e"

    @property
    def shares(self) -> bool:
        return True
