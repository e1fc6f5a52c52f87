"""A discriminator for the training of any small generator: the residual one of StyleGAN2 (Karras et al., 2020)."""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange, reduce, repeat
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Discriminator"]


class EqualConv(nn.Conv2d):
    """Convolution with equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias=bias)
        nn.init.normal_(self.weight)
        if bias:
            nn.init.zeros_(self.bias)
        self.gain = 1 / math.sqrt(inputs * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) => (N, out, H, W)."""
        return F.conv2d(x, self.weight * self.gain, self.bias, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Linear):
    """Fully connected layer with equalised learning rate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) => (N, out)."""
        return F.linear(x, self.weight * self.gain, self.bias)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = EqualConv(inputs, inputs, 3)
        self.conv1 = EqualConv(inputs, outputs, 4, stride=2)
        self.skip = EqualConv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = _activate(self.conv1(_activate(self.conv0(x))))
        return (y + self.skip(F.avg_pool2d(x, 2))) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Images, and labels where they matter => one score each, high for real ones.

    Each level halves the size and doubles the channels; labels enter by projection (Miyato and Koyama, 2018).

    Args:
        spec: the spec of the generator.
        width: channels at full resolution.
        widest: the most channels.
        group: over how many images the standard deviation of the last features is taken.
    """

    def __init__(self, spec: GeneratorSpec, *, width: int = 16, widest: int = 192, group: int = 4) -> None:
        super().__init__()
        levels = int(math.log2(spec.resolution / 4)) + 1
        widths = [min(width << level, widest) for level in range(levels)]
        self.group = group
        self.from_rgb = EqualConv(spec.channels, widths[0], 1)
        self.blocks = nn.Sequential(*[_Block(a, b) for a, b in itertools.pairwise(widths)])
        scale = 1 << (levels - 1)
        pixels = (spec.size[0] // scale) * (spec.size[1] // scale)
        self.conv = EqualConv(widths[-1] + 1, widths[-1], 3)
        self.hidden = EqualLinear(widths[-1] * pixels, widths[-1])
        self.score = EqualLinear(widths[-1], 1)
        self.classes = EqualLinear(spec.classes, widths[-1]) if spec.classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, C, H, W), int64 (N,) => (N,)."""
        x = self.blocks(_activate(self.from_rgb(images)))
        x = torch.cat([x, self._spread(x)], dim=1)
        x = _activate(self.hidden(_activate(self.conv(x)).flatten(1)))
        score = self.score(x)[:, 0]
        if self.classes is not None and labels is not None:
            rows = F.one_hot(labels, self.classes.in_features).to(x.dtype)
            score = score + (self.classes(rows) * x).sum(1) / math.sqrt(x.shape[1])
        return score

    def _spread(self, x: Tensor) -> Tensor:
        """The standard deviation over a group of images, as one more map (N, 1, H, W) (Karras et al., 2018)."""
        group = math.gcd(len(x), self.group)
        variance = rearrange(x, "(group m) c h w -> group m c h w", group=group).var(0, unbiased=False)
        spread = reduce((variance + 1e-8).sqrt(), "m c h w -> m", "mean")
        return repeat(spread, "m -> (group m) 1 h w", group=group, h=x.shape[2], w=x.shape[3])
