"""The layers that encoders are made of, and what generators of several families share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.encoders.fused import (
    ActivateHalve,
    AddNoise,
    Halve,
    ScaledConv,
    Standardize,
    autocasts,
    channel_dot,
    fusible,
    leaky_gradient,
    row_parts,
    standardized,
    wide,
)

__all__ = [
    "Blur",
    "ConditionalBatchNorm",
    "Conv",
    "FixedNoise",
    "Linear",
    "activate_halve",
    "autocasts",
    "channel_dot",
    "conv_doubled",
    "halve",
    "leaky_gradient",
    "mix",
    "normalise_second_moment",
    "row_parts",
    "standardize",
]

EPSILON = 1e-8
"""What is added to mean squares (Karras et al., 2018, section 4.2)."""


class Linear(nn.Module):
    """Fully connected layer with an equalised learning rate: (N, inputs) -> (N, outputs).

    Args:
        inputs: values in.
        outputs: values out.
        gain: the deviation of what comes out where unit-variance values come in.
        equalized: scale the weights as they are used (else as they are drawn).
        start: factor of the first weights alone; training goes at the same speed whatever it is.
    """

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, equalized: bool = True, start: float = 1.0
    ) -> None:
        super().__init__()
        scale = gain / math.sqrt(inputs)
        self.scale = scale if equalized else 1.0
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (start if equalized else start * scale))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return F.linear(x if self.scale == 1.0 else x * self.scale, self.weight, self.bias)


class Conv(nn.Module):
    """Convolution with an equalised learning rate, "same" padding and a bias: (N, C, H, W) -> (N, D, H, W).

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: 1 or 3.
        stride: halve height and width: the kernel, averaged over four shifts, moves by two pixels. That equals the
            convolution followed by an average over 2x2 pixels, and costs less.
        gain: the deviation of what comes out where unit-variance values come in.
        equalized: scale the weights as they are used (else as they are drawn).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: bool = False,
        gain: float = math.sqrt(2),
        equalized: bool = True,
    ) -> None:
        super().__init__()
        scale = gain / math.sqrt(inputs * kernel**2)
        self.scale = scale if equalized else 1.0
        self.stride = stride
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * (1.0 if equalized else scale))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, *, scaled: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W), or (N, D, H // 2, W // 2) with stride.

        Args:
            x: features.
            scaled: whether they are multiplied by ``scale`` already, so that the weight need not be.
        """
        if self.scale != 1.0 and not (scaled or self.stride) and fusible(x, self.weight):
            out: Tensor = ScaledConv.apply(x, self.weight, self.bias, self.scale, self.padding)
            return out
        weight = self.weight if scaled or self.scale == 1.0 else self.weight * self.scale
        if not self.stride:
            return F.conv2d(x, weight, self.bias, padding=self.padding)
        weight = F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1)
        return F.conv2d(x, weight, self.bias, stride=2, padding=self.padding)


class FixedNoise(nn.Module):
    """Noise of a learned strength for each channel, the same noise each time (the paper's learnable z'_n).

    Args:
        channels: channels of the features.
        size: height and width of the features.
        seed: the stream of the noise.
        place: which of the stream's maps it is.
        inplace: add it to the features that are given, where nothing else needs them.
    """

    noise: Tensor

    def __init__(self, channels: int, size: tuple[int, int], *, seed: int, place: int, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        stream = np.random.Generator(np.random.Philox(key=np.array([seed, place], dtype=np.uint64)))
        noise = torch.from_numpy(stream.standard_normal((1, 1, *size), dtype=np.float32))
        self.strength = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("noise", noise.to(self.strength.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        strength, noise = self.strength.to(x.dtype), self.noise.to(x.dtype)
        if not self.inplace:
            return torch.addcmul(x, strength, noise)
        if fusible(x, strength):
            out: Tensor = AddNoise.apply(x, strength, noise)
            return out
        return x.addcmul_(strength, noise)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and shift come from a condition: (N, C, H, W), (N, K) -> (N, C, H, W).

    In training the batch's own statistics normalise, and are gathered; in eval mode the gathered ones do.
    (The paper, section 3.1, the class-conditional case; the published code never gathers any.)
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, condition: int, *, equalized: bool = True, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.gain = Linear(condition, channels, equalized=equalized, start=0.0)
        self.shift = Linear(condition, channels, equalized=equalized, start=0.0)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise ``x`` over the batch and dress it by ``condition``."""
        own = self.training and x.shape[0] * x.shape[2] * x.shape[3] > 1
        x = F.batch_norm(x, self.running_mean, self.running_var, training=own, momentum=self.momentum, eps=1e-5)
        gain = 1 + self.gain(condition)[:, :, None, None]
        return torch.addcmul(self.shift(condition)[:, :, None, None], x, gain)


def standardize(x: Tensor, slope: float | None = None, gain: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Instance norm, with the statistics that the style heads want: (N, C, H, W) -> the same, and twice (N, C, 1, 1).

    The statistics are the mean and the deviation over height and width, at least in single precision. The deviation is
    the square root of variance + 1e-8, so its gradient is finite where the features are constant.

    Args:
        x: features.
        slope: of a leaky ReLU before the norm, if there is one.
        gain: the deviation that features get. The statistics are those of before.
    """
    if fusible(x) or (slope is None and torch.is_grad_enabled() and x.requires_grad):
        y, mean, std = Standardize.apply(x, slope, gain)
        return y, mean, std
    return standardized(x, gain=gain) if slope is None else standardize(F.leaky_relu(x, slope), gain=gain)


def halve(x: Tensor) -> Tensor:
    """The average over 2x2 pixels: (N, C, H, W) -> (N, C, H // 2, W // 2)."""
    if fusible(x) and not (x.shape[2] % 2 or x.shape[3] % 2):
        out: Tensor = Halve.apply(x)
        return out
    return F.avg_pool2d(x, 2)


def activate_halve(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU, then the average over 2x2 pixels: (N, C, H, W) -> (N, C, H // 2, W // 2)."""
    if fusible(x) and not (x.shape[2] % 2 or x.shape[3] % 2):
        out: Tensor = ActivateHalve.apply(x, slope)
        return out
    return F.avg_pool2d(F.leaky_relu(x, slope), 2)


class Blur(nn.Module):
    """Blur by [1, 2, 1] / 4 along both axes, with zeros around: (N, C, H, W) -> (N, C, H, W)."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(row, row).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return F.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])


def mix(x: Tensor, bypass: Tensor, share: float | str) -> Tensor:
    """The residual: ``share`` of ``x`` and the rest of ``bypass``, or their plain sum where ``share`` is ``sum``."""
    if isinstance(share, str):
        return x + bypass
    return torch.lerp(bypass, x, share)


def conv_doubled(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each pixel becomes four, then a 3x3 convolution: (N, in, H, W), (out, in, 3, 3) -> (N, out, 2H, 2W).

    Both are one transposed convolution of stride 2, as each pixel of the result sees only 2x2 pixels of ``x``: its 4x4
    kernel sums the flipped weight at four places. That takes less than half the products of the two steps and gives the
    same numbers (Karras et al., 2018, published code; "fused scale"). The sum is four times a mean, as ONNX leaves out
    another divisor and says nothing.
    """
    kernel = 4 * F.avg_pool2d(F.pad(weight.flip(2, 3), (1, 1, 1, 1)), 2, stride=1)
    return F.conv_transpose2d(x, kernel.transpose(0, 1), bias, stride=2, padding=1)


class _NormaliseSecondMoment(torch.autograd.Function):
    """The gradient of :func:`normalise_second_moment` in closed form, from ``x`` alone: less time and memory than
    autograd takes.

    The gradient is made of differentiable operators, so it has gradients itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.epsilon = epsilon
        return x * _inverse_root(x, epsilon).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        values, along = wide(x), wide(grad)
        scale = _inverse_root(x, ctx.epsilon)
        share = (along * values).mean(dim=1, keepdim=True)
        return torch.addcmul(along * scale, values, -share * scale**3).to(x.dtype), None


def normalise_second_moment(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Scale each row of (N, dim), or each pixel's features in (N, C, H, W), to a mean square of 1.

    The mean square is taken at least in single precision, and ``epsilon`` is added (Karras et al., 2018, section 4.2).
    """
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _NormaliseSecondMoment.apply(x, epsilon)
        return out
    return x * _inverse_root(x, epsilon).to(x.dtype)


def _inverse_root(x: Tensor, epsilon: float) -> Tensor:
    """1 / sqrt(mean square + epsilon) along axis 1, at least in single precision: (N, C, ...) -> (N, 1, ...)."""
    return (wide(x).square().mean(dim=1, keepdim=True) + epsilon).rsqrt()
