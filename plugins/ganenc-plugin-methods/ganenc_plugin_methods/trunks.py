"""Networks that give an image's features, finest first: what the encoders of several methods stand on."""

from __future__ import annotations

import itertools
from typing import Literal

from ganenc.encoders import AdaptiveBlock, Conv
from ganenc_registry.components import Context
from ganenc_registry.specs import BlockSpec, Spec
from ganenc_registry.specs.sizes import Count, Width
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["STRIDES", "Trunk", "TrunkOptions", "make_trunk", "sides"]

STRIDES = (2, 4, 8, 16)
"""How many times smaller than the image the features of each group of units are."""
REDUCTION = 16
UNITS = {"irse50": (3, 4, 14, 3), "resnet34": (3, 4, 6, 3)}


class TrunkOptions(Spec):
    """What an encoder stands on."""

    trunk: Literal["irse50", "resnet34", "blocks"] = Field(
        "irse50",
        description="IR-SE50 (of ArcFace), ResNet-34 without its pooling, or four of the paper's adaptive blocks",
    )
    widths: tuple[Width, Width, Width, Width] = Field(
        (64, 128, 256, 512),
        description="channels of the four groups of units, each of half the resolution",
        json_schema_extra={"small": [4, 8, 8, 16]},
    )
    units: tuple[Count, Count, Count, Count] | None = Field(
        None,
        description="residual units in each group; by default 3, 4, 14, 3 of IR-SE50 and 3, 4, 6, 3 of ResNet-34",
        json_schema_extra={"small": [1, 2, 2, 1]},
    )
    view: tuple[Width, Width] | None = Field(
        None,
        description="height and width of what it sees: the middle of the images, resized; by default all as it is",
    )

    def seen(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) => the middle of them in the shape of ``view``, resized to it."""
        if self.view is None:
            return images
        height, width = self.view
        rows, columns = images.shape[2:]
        kept = min(rows, round(columns * height / width)), min(columns, round(rows * width / height))
        top, left = (rows - kept[0]) // 2, (columns - kept[1]) // 2
        images = images[:, :, top : top + kept[0], left : left + kept[1]]
        if kept == (height, width):
            return images
        return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def sides(size: tuple[int, int], halvings: int) -> tuple[int, int]:
    """Height and width after so many convolutions of stride 2."""
    height, width = (max(1, -(-side // (1 << halvings))) for side in size)
    return height, width


class Trunk(nn.Module):
    """Images (N, C, H, W) => features of each group of units, of a half, a quarter, and so on of the resolution."""

    def __init__(self, first: nn.Module, units: list[nn.Module], ends: list[int]) -> None:
        super().__init__()
        self.first, self.units, self.ends = first, nn.ModuleList(units), ends

    def forward(self, images: Tensor) -> list[Tensor]:
        x, found = self.first(images), []
        for place, unit in enumerate(self.units, 1):
            x = unit(x)
            if place in self.ends:
                found.append(x)
        return found


class Squeeze(nn.Module):
    """Weighs channels by what their means say (Hu et al., 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // REDUCTION)
        self.down = nn.Conv2d(channels, inner, 1, bias=False)
        self.up = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * weights


class IRUnit(nn.Module):
    """A residual unit of IR-SE50 (Deng et al., 2019): batch norm first, no activation at its end."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.bypass = None
        if inputs != outputs:
            self.bypass = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Squeeze(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        bypass = x[:, :, :: self.stride, :: self.stride] if self.bypass is None else self.bypass(x)
        out: Tensor = self.branch(x) + bypass
        return out


class ResNetUnit(nn.Module):
    """A basic unit of ResNet-34 (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bypass = None
        if inputs != outputs or stride != 1:
            self.bypass = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x) + (x if self.bypass is None else self.bypass(x))
        return out.relu()


class BlockUnit(nn.Module):
    """The paper's adaptive block (Figure 4), without style heads."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.block = AdaptiveBlock(None, Context(block=spec))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.block(x, None)[0]
        return features


def make_trunk(options: TrunkOptions, channels: int, size: tuple[int, int], groups: int = 4) -> Trunk:
    """The first ``groups`` of an options' trunk, for images of so many channels, seen at a size (height, width)."""
    widths = options.widths[:groups]
    if options.trunk == "blocks":
        inputs = [max(1, widths[0] // 2), *widths]
        units: list[nn.Module] = []
        for index, (a, b) in enumerate(itertools.pairwise(inputs)):
            side = (max(1, size[0] >> index), max(1, size[1] >> index))
            halves = "none" if max(side) == 1 else "average"
            units.append(BlockUnit(BlockSpec(size=side, in_channels=a, out_channels=b, downscale=halves)))
        first: nn.Module = nn.Sequential(Conv(channels, inputs[0], 1), nn.LeakyReLU(0.2))
        return Trunk(first, units, [*range(1, groups + 1)])
    resnet = options.trunk == "resnet34"
    kind = ResNetUnit if resnet else IRUnit
    counts = (options.units or UNITS[options.trunk])[:groups]
    first = nn.Sequential(
        nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False)
        if resnet
        else nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.PReLU(widths[0]),
    )
    units, inputs_of = [], widths[0]
    for group, (width, count) in enumerate(zip(widths, counts)):
        for place in range(count):
            stride = 1 if place or (resnet and not group) else 2
            units.append(kind(inputs_of, width, stride))
            inputs_of = width
    return Trunk(first, units, [*itertools.accumulate(counts)])
