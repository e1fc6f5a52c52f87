"""A block of your own: encoders are built of it by its name. ``python examples/custom_block.py``.

The block here convolves channel by channel, and mixes the channels afterwards: a fraction of the weights. Both encoders
are trained for the same steps on images of the same generator.
"""

import sys
from pathlib import Path

import ganenc
import torch
from torch import nn
from torch.nn import functional as F


@ganenc.register("block", "separable")
class Separable(ganenc.EncoderBlock):
    """A convolution over the pixels of each channel, one over the channels of each pixel, and a bypass."""

    def __init__(self, encoder, index):
        super().__init__(encoder, index)  # From here on self.spec and self.widths say what to keep to.
        inputs, outputs = self.spec.in_channels, self.spec.out_channels
        self.over_pixels = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.over_channels = nn.Conv2d(inputs, outputs, 1)
        self.bypass = nn.Conv2d(inputs, outputs, 1)
        self.heads = nn.ModuleList(nn.Linear(2 * inputs, width) if width else None for width in self.widths)
        for head in filter(None, self.heads):  # Start near the generator's mean styles, as the encoder's offsets do.
            nn.init.normal_(head.weight, std=self.encoder.head_gain / (2 * inputs) ** 0.5)

    def forward(self, x, condition):
        statistics = torch.cat([x.mean((2, 3)), x.std((2, 3))], dim=1)
        styles = tuple(None if head is None else head(statistics) for head in self.heads)
        x = F.leaky_relu(self.over_channels(self.over_pixels(F.instance_norm(x))), 0.2) + self.bypass(x)
        return (x if self.spec.downscale == "none" else F.avg_pool2d(x, 2)), styles


def main(steps: int) -> None:
    """Train an encoder of each block, and print what they reached."""
    generator = ganenc.load_generator("stylegan2-hands64")
    for block in ("adaptive", "separable"):
        run = ganenc.preset(
            "pretrain",
            encoder={"overrides": {"block": block, "map_gain": 0.1}},
            objective={"losses": {"mse": 5.0, "cos": 3.0}, "attention": "none"},
            optimiser={"rate": 0.005, "warmup": 5},
            data={"batch": 4},
            steps=steps,
            saving={"log_every": steps},
        )
        losses = {}
        folder = Path("runs") / f"{block}-{steps}"
        encoder = ganenc.pretrain(generator, run, folder, on_step=lambda _, __, terms, seen=losses: seen.update(terms))
        parameters = sum(weights.numel() for weights in encoder.parameters())
        print(f"{block}: {parameters:,} parameters, a mean loss of {losses['total']:.3f} over {steps} steps")


if __name__ == "__main__":
    main(steps=3 if "--quick" in sys.argv else 30)
