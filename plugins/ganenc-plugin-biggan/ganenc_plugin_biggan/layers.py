"""The layers that BigGANs are made of (Brock et al., 2019, "Large Scale GAN Training", appendix B)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_biggan.specs import BigGANOptions

__all__ = ["BatchNorm", "GenBlock", "PlainBlock", "Rows", "SelfAttention", "rows_at"]


@dataclass(frozen=True)
class Rows:
    """Which running statistics hold for each sample: ``share`` of row ``low``, and the rest of row ``high``."""

    low: Tensor
    """Row numbers (N,)."""
    high: Tensor
    """Row numbers (N,)."""
    share: Tensor
    """(N, 1), above 0 and at most 1."""

    def pick(self, statistics: Tensor) -> Tensor:
        """Statistics (rows, C) => those of each sample (N, C)."""
        return torch.lerp(statistics[self.high], statistics[self.low], self.share.to(statistics.dtype))


def rows_at(truncation: Tensor, n_stats: int) -> Rows:
    """Truncations (N,) from 0 to 1 => the rows of statistics that the published implementation takes for them.

    Row i is for truncation i / (n_stats - 1). Between two rows the published implementation weighs the lower one by how
    far the truncation is *above* it, and the released weights are used that way. As it reads truncation as a decimal in
    double precision, whether one falls on a row is decided there, after rounding to the decimals that the dtype holds:
    seven in single precision, three in half, two in bfloat16. No gradient passes.

    Past 1, the last row holds.
    """
    last = n_stats - 1
    if last == 0:
        first = torch.zeros_like(truncation, dtype=torch.int64)
        return Rows(first, first, torch.ones_like(truncation, dtype=torch.float32)[:, None])
    wide = truncation.detach().to("cpu" if truncation.device.type == "mps" else truncation.device, torch.float64)
    decimals = 10.0 ** min(7, round(-math.log10(torch.finfo(truncation.dtype).eps)))  # What the dtype can tell apart.
    place = ((wide * decimals).round() / decimals).clamp(0, 1) / (1.0 / last)
    low = place.floor()
    beyond = place - low
    share = torch.where(beyond == 0, 1.0, beyond)
    rows = low.long().clamp(max=last).to(truncation.device)
    return Rows(rows, (rows + 1).clamp(max=last), share[:, None].to(truncation.device, torch.float32))


class BatchNorm(nn.Module):
    """Batch norm with a row of running statistics for each truncation, conditional or plain.

    In eval mode the rows normalise, interpolated by :func:`rows_at`. In training the batch's own statistics do,
    whatever its truncation, and every row in ``gathers`` follows them, as in ``torch.nn.BatchNorm2d``.

    Args:
        channels: of the features.
        condition: length of the vector that gain and shift are computed from; 0 for a learned gain and shift.
        n_stats: rows of running statistics.
        eps: added to variances.
    """

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int, condition: int, *, n_stats: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = 0.1
        self.gathers = slice(None)
        self.conditional = condition > 0
        self.register_buffer("running_means", torch.zeros(n_stats, channels))
        self.register_buffer("running_vars", torch.ones(n_stats, channels))
        if self.conditional:
            self.gain = nn.Linear(condition, channels, bias=False)
            self.shift = nn.Linear(condition, channels, bias=False)
            for linear in (self.gain, self.shift):
                nn.init.normal_(linear.weight, std=0.02)
        else:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, condition: Tensor, rows: Rows | None) -> Tensor:
        """(N, C, H, W), (N, K) and, in eval mode, the rows of each sample => (N, C, H, W)."""
        if self.conditional:
            gain, shift = 1 + self.gain(condition), self.shift(condition)
        else:
            gain, shift = self.weight[None], self.bias[None]
        if self.training:
            x = self._normalise_and_gather(x)
        else:
            assert rows is not None, "running statistics are picked by truncation"
            gain = gain * (rows.pick(self.running_vars) + self.eps).rsqrt()
            shift = shift - gain * rows.pick(self.running_means)
        gain, shift = (rearrange(one, "n c -> n c 1 1") for one in (gain, shift))
        return torch.addcmul(shift, x, gain)

    def _normalise_and_gather(self, x: Tensor) -> Tensor:
        mean, var = torch.zeros_like(self.running_means[0]), torch.zeros_like(self.running_vars[0])
        x = F.batch_norm(x, mean, var, training=True, momentum=1.0, eps=self.eps)
        self.running_means[self.gathers].lerp_(mean, self.momentum)
        self.running_vars[self.gathers].lerp_(var, self.momentum)
        return x


class GenBlock(nn.Module):
    """The residual bottleneck of BigGAN-deep (Figure 16a): two 3x3 convolutions between two 1x1 ones.

    The bypass drops channels where fewer go out than come in, and repeats pixels where the size doubles.

    Args:
        options: of the whole network.
        index: which of ``options.blocks`` this is.
        condition: length of what the norms are conditioned on.
    """

    def __init__(self, options: BigGANOptions, index: int, condition: int) -> None:
        super().__init__()
        self.up, inputs, outputs = options.blocks[index]
        inputs, self.outputs = inputs * options.channel_width, outputs * options.channel_width
        middle = inputs // options.reduction
        widths = (inputs, middle, middle, middle)
        self.norms = nn.ModuleList(
            BatchNorm(width, condition, n_stats=options.n_stats, eps=options.eps) for width in widths
        )
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, middle, 1),
                nn.Conv2d(middle, middle, 3, padding=1),
                nn.Conv2d(middle, middle, 3, padding=1),
                nn.Conv2d(middle, self.outputs, 1),
            ]
        )

    def forward(self, x: Tensor, condition: Tensor, rows: Rows | None) -> Tensor:
        """(N, inputs, H, W), (N, condition) => (N, outputs, H, W), or twice the size."""
        bypass = x[:, : self.outputs]
        for place, (norm, conv) in enumerate(zip(self.norms, self.convs)):
            x = F.relu(norm(x, condition, rows))
            if self.up and place == 1:
                x = _repeat(x)
            x = conv(x)
        return x + (_repeat(bypass) if self.up else bypass)


class PlainBlock(nn.Module):
    """The residual block of BigGAN (Figure 15a): two 3x3 convolutions, and a 1x1 one around them where the size doubles
    or the channels change. Arguments as for :class:`GenBlock`.
    """

    def __init__(self, options: BigGANOptions, index: int, condition: int) -> None:
        super().__init__()
        self.up, *units = options.blocks[index]
        inputs, outputs = (one * options.channel_width for one in units)
        self.norms = nn.ModuleList(
            BatchNorm(width, condition, n_stats=options.n_stats, eps=options.eps) for width in (inputs, outputs)
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for width in (inputs, outputs))
        self.bypass = nn.Conv2d(inputs, outputs, 1) if self.up or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor, rows: Rows | None) -> Tensor:
        """(N, inputs, H, W), (N, condition) => (N, outputs, H, W), or twice the size."""
        bypass, x = self.bypass(x), F.relu(self.norms[0](x, condition, rows))
        if self.up:
            bypass, x = _repeat(bypass), _repeat(x)
        x = F.relu(self.norms[1](self.convs[0](x), condition, rows))
        return bypass + self.convs[1](x)


class SelfAttention(nn.Module):
    """Self-attention over the places of a feature map, keys and values pooled to a quarter (Zhang et al., 2019).

    Args:
        channels: of the features, at least 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H, W): x + gamma out(softmax(queries keys) values)."""
        queries = rearrange(self.query(x), "n c h w -> n (h w) c")
        keys = rearrange(F.max_pool2d(self.key(x), 2), "n c h w -> n c (h w)")
        values = rearrange(F.max_pool2d(self.value(x), 2), "n c h w -> n (h w) c")
        found = (queries @ keys).softmax(dim=-1) @ values
        return torch.addcmul(x, self.gamma, self.out(rearrange(found, "n (h w) c -> n c h w", h=x.shape[2])))


def _repeat(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
