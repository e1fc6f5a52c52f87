"""A block of your own, with an option: encoders are built of it by its name. ``python examples/custom_block.py``.

The block here convolves channel by channel, and mixes the channels afterwards: a fraction of the weights. The run
beside it, ``custom_block.yaml``, declares an encoder of such blocks; one of ours is trained for as many steps on the
same images.
"""

import sys
from pathlib import Path

import ganenc
import torch
from ganenc_registry.specs import Spec, merge, read_mapping
from pydantic import Field
from torch import nn
from torch.nn import functional as F


@ganenc.register("block", "separable")
class Separable(ganenc.EncoderBlock):
    """A convolution over the pixels of each channel, one over the channels of each pixel, and a bypass."""

    class Options(Spec):
        """What can be chosen in a run: ``--set encoder.overrides.block.options.kernel=7``."""

        kernel: int = Field(3, ge=1, le=9, description="pixels that a convolution sees in each direction")

    def __init__(self, options, context):
        super().__init__(options, context)  # From here on self.spec says what to keep to.
        inputs, outputs = self.spec.in_channels, self.spec.out_channels
        self.over_pixels = nn.Conv2d(inputs, inputs, self.options.kernel, padding="same", groups=inputs)
        self.over_channels = nn.Conv2d(inputs, outputs, 1)
        self.bypass = nn.Conv2d(inputs, outputs, 1)
        self.heads = nn.ModuleList(nn.Linear(2 * inputs, width) if width else None for width in self.spec.style_widths)
        for head in filter(None, self.heads):  # Start near the generator's mean styles, as the encoder's offsets do.
            nn.init.normal_(head.weight, std=self.spec.head_gain / (2 * inputs) ** 0.5)

    def forward(self, x, condition):
        statistics = torch.cat([x.mean((2, 3)), x.std((2, 3))], dim=1)
        styles = tuple(None if head is None else head(statistics) for head in self.heads)
        x = F.leaky_relu(self.over_channels(self.over_pixels(F.instance_norm(x))), 0.2) + self.bypass(x)
        return (x if self.spec.downscale == "none" else F.avg_pool2d(x, 2)), styles


def main(steps: int) -> None:
    """Train an encoder of each block, and print what they reached."""
    declared = read_mapping(Path(__file__).with_suffix(".yaml"))
    declared = merge(declared, {"steps": steps, "saving": {"log_every": steps}})
    generator = ganenc.load_generator(declared["model"])
    for name in ("adaptive", "separable"):
        run = ganenc.RunSpec.from_mapping(merge(declared, {"encoder": {"overrides": {"block": name}}}))
        losses = {}
        folder = Path("runs") / f"{name}-{steps}"
        encoder = ganenc.pretrain(generator, run, folder, on_step=lambda _, __, terms, seen=losses: seen.update(terms))
        parameters = sum(weights.numel() for weights in encoder.parameters())
        print(f"{name}: {parameters:,} parameters, a mean loss of {losses['total']:.3f} over {steps} steps")


if __name__ == "__main__":
    main(steps=3 if "--quick" in sys.argv else 30)
