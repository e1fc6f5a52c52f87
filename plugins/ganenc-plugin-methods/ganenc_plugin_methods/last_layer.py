"""The encoders that pSp is compared with (Richardson et al., 2021), and from which HyperStyle starts: all from the last
features of a trunk."""

from __future__ import annotations

from collections.abc import Iterator

from ganenc.encoders import Encoder, EncoderNetwork, Linear
from ganenc.foreign import Checkpoint
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods import style_formats
from ganenc_plugin_methods.parts import check_rows, rows_of, split_rows, tied, width
from ganenc_plugin_methods.trunks import TrunkOptions, make_trunk

__all__ = ["LastLayer"]

POOLED = 7
"""The side to which features are averaged where every row is its own."""


class LastLayer(EncoderNetwork):
    """One w for all layers from the mean features, or every row from these averaged to 7x7."""

    class Options(TrunkOptions):
        """What it stands on, and what it gives."""

        tied: bool = Field(True, description="one w for all layers; else every row is its own")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        check_rows(self.spec, "last-layer")
        chosen = self.options
        self.trunk = make_trunk(chosen, self.spec.channels, chosen.view or self.spec.size)
        inner = chosen.widths[3]
        self.pool: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        outputs = width(self.spec)
        if not chosen.tied:
            pools = nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(), nn.Linear(inner * POOLED**2, inner)
            self.pool = nn.Sequential(nn.BatchNorm2d(inner), *pools)
            outputs = sum(dim for _, dim in rows_of(self.spec))
        self.linear = Linear(inner, outputs, start=self.spec.head_gain)

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a file holds such an encoder."""
        return style_formats.kind_of(checkpoint) == "last-layer"

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        """The encoder that a published file holds; `CheckpointError` if it is damaged, or does not tell its styles."""
        return style_formats.read(checkpoint, "last-layer")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        values = self.linear(self.pool(self.trunk(self.options.seen(images))[3]))
        return tied(self.spec, values) if self.options.tied else split_rows(self.spec, values)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.linear.parameters()
