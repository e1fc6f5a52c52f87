"""E2Style (Wei et al., 2022): pooled heads at three levels, and stages that refine beside the reconstruction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, Spec
from ganenc_registry.specs.sizes import Count, NonNegativeInt
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods import style_formats
from ganenc_plugin_methods.parts import check_rows, rows_of, split_rows
from ganenc_plugin_methods.restyle import RefiningNetwork
from ganenc_plugin_methods.trunks import Trunk, TrunkOptions, make_trunk

__all__ = ["E2Style", "E2StyleStage"]

POOLED = 7
"""The side to which features are averaged before a head's linear layer."""
HEADS = 3


class E2Style(RefiningNetwork):
    """E2Style: its first stage is the encoder; later ones see what the stage before rebuilt, and add to it."""

    class Options(TrunkOptions):
        """What a stage stands on, how many there are, and which rows the heads give."""

        stages: Count = Field(3, description="stages; the first is the encoder, the others refine")
        rows: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt] | None = Field(
            None, description="how many rows each head gives, the deepest first; by default 9, 5 and 4 of 18"
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, "e2style")
        self.stages = nn.ModuleList(
            E2StyleStage(self.options, self.spec, 1 + (index > 0)) for index in range(self.options.stages)
        )

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds an encoder of E2Style."""
        return style_formats.kind_of(checkpoint) == "e2style"

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds, all its stages; `CheckpointError` if it is damaged."""
        return style_formats.read(checkpoint, "e2style")

    @property
    def passes(self) -> int:
        return len(self.stages)

    @property
    def bounded(self) -> bool:
        return True

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return split_rows(self.spec, self.stages[0](images))

    def first(self, images: Tensor, start: Tensor) -> dict[str, Tensor]:
        return self.forward(images)

    def again(self, images: Tensor, reconstructions: Tensor, index: int) -> dict[str, Tensor]:
        return split_rows(self.spec, self.stages[index](torch.cat([images, reconstructions], 1)))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        for stage in self.stages:
            yield from stage.get_submodule("heads").parameters()


class E2StyleStage(nn.Module):
    """Images (N, inputs x C, H, W) => all rows of the latents, one after the other (N, sum)."""

    trunk: Trunk

    def __init__(self, options: E2Style.Options, spec: EncoderSpec, inputs: int) -> None:
        super().__init__()
        self.options = options
        self.trunk = make_trunk(options, inputs * spec.channels, options.view or spec.size, HEADS)
        dims = [dim for _, dim in rows_of(spec)]
        counts = _rows(options, len(dims))
        ends = [sum(counts[:index]) for index in range(HEADS + 1)]
        outputs = [sum(dims[a:b]) for a, b in itertools.pairwise(ends)]
        self.used = [place for place, output in enumerate(outputs) if output]
        widths = options.widths[HEADS - 1 :: -1]
        self.heads = nn.ModuleList(_head(widths[place], outputs[place], spec.head_gain) for place in self.used)

    def forward(self, images: Tensor) -> Tensor:
        features = self.trunk(self.options.seen(images))[::-1]
        return torch.cat([head(features[place]) for place, head in zip(self.used, self.heads, strict=True)], 1)


def _rows(options: E2Style.Options, count: int) -> tuple[int, ...]:
    """How many rows each head gives."""
    if options.rows is None:
        deep = math.ceil(count / 2)
        middle = math.ceil((count - deep) * 5 / 9)
        return (deep, middle, count - deep - middle)
    if sum(options.rows) != count:
        raise SpecError(f"network.options.rows: they sum up to {sum(options.rows)}, and the layout has {count} rows.")
    return options.rows


def _head(channels: int, outputs: int, start: float) -> nn.Sequential:
    linear = nn.Linear(channels * POOLED**2, outputs)
    with torch.no_grad():
        linear.weight.mul_(start)
        linear.bias.zero_()
    return nn.Sequential(nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(), linear)
