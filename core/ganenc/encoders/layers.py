"""The layers that encoders are made of, and what generators of several families share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.encoders.standardizing import leaky_gradient, wide


class Linear(nn.Module):
    """Fully connected layer with an equalised learning rate: (N, inputs) -> (N, outputs).

    ``gain`` is the deviation of what comes out where unit-variance values come in; ``equalized`` scales the weights as
    they are used (else as they are drawn); ``start`` multiplies the first weights, not the speed of training.
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
        return F.linear(x if self.scale == 1.0 else x * self.scale, self.weight, self.bias)


class Conv(nn.Module):
    """Convolution with an equalised learning rate, "same" padding and a bias: (N, C, H, W) -> (N, D, H, W).

    ``kernel`` is 1 or 3, or (height, width) of these. ``stride`` halves the sides that it is 3 along: the kernel,
    averaged over the shifts, moves by two pixels, which equals the convolution followed by an average over 2x2 pixels,
    and costs less. See `Linear` for ``gain`` and ``equalized``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: bool = False,
        gain: float = math.sqrt(2),
        equalized: bool = True,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        scale = gain / math.sqrt(inputs * height * width)
        self.scale = scale if equalized else 1.0
        self.stride = stride
        self.padding = (height // 2, width // 2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, height, width) * (1.0 if equalized else scale))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W), or with stride (N, D, H // 2, W // 2), where a side of 1 stays."""
        if x.shape[2] * x.shape[3] < self.weight[:, 0].numel() and not self.stride:
            # What comes out is less than the weight: scaled in its place, it needs no second weight to be kept.
            return F.conv2d(x, self.weight, self.bias / self.scale, padding=self.padding).mul_(self.scale)
        weight = self.weight if self.scale == 1.0 else self.weight * self.scale
        if not self.stride:
            return F.conv2d(x, weight, self.bias, padding=self.padding)
        rows, columns = self.padding
        step = (1 + rows, 1 + columns)
        weight = F.avg_pool2d(F.pad(weight, (columns, columns, rows, rows)), step, stride=1)
        return F.conv2d(x, weight, self.bias, stride=step, padding=self.padding)


class FixedNoise(nn.Module):
    """Noise of a learned strength for each channel, the same noise each time (the paper's learnable z'_n). ``seed`` is
    the stream of the noise, ``place`` which of the stream's maps of ``size`` (height, width) it is."""

    noise: Tensor

    def __init__(self, channels: int, size: tuple[int, int], *, seed: int, place: int) -> None:
        super().__init__()
        stream = np.random.Generator(np.random.Philox(key=np.array([seed, place], dtype=np.uint64)))
        noise = torch.from_numpy(stream.standard_normal((1, 1, *size), dtype=np.float32))
        self.strength = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("noise", noise.to(self.strength.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, self.strength.to(x.dtype), self.noise.to(x.dtype))


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and shift come from a condition: (N, C, H, W), (N, K) -> (N, C, H, W) (paper, section 3.1).
    Training takes the batch's statistics and gathers them (the published code never does), which eval takes."""

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
        gain, shift = (rearrange(layer(condition), "n c -> n c 1 1") for layer in (self.gain, self.shift))
        return torch.addcmul(shift, x, 1 + gain)


class Blur(nn.Module):
    """Blur by [1, 2, 1] / 4 along both axes (not one of a single pixel), zeros around: (N, C, H, W) -> the same."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(row, row).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        alone = [axis for axis in (2, 3) if x.shape[axis] == 1]
        kernel = self.kernel.sum(alone, keepdim=True) if alone else self.kernel
        padding = [side // 2 for side in kernel.shape[2:]]
        return F.conv2d(x, kernel.to(x.dtype), padding=padding, groups=x.shape[1])


def activate(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU, which keeps one byte a value for its gradient: which of them are above 0."""
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _Activate.apply(x, slope)
        return out
    return F.leaky_relu(x, slope)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x > 0)
        ctx.slope = slope
        return F.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (above,) = ctx.saved_tensors
        return leaky_gradient(grad, above.to(grad.dtype), ctx.slope), None


def halve(x: Tensor) -> Tensor:
    """The average over 2x2 pixels: (N, C, H, W) -> (N, C, H // 2, W // 2), where a side of 1 stays, by way of torch's
    bilinear resize, which is that average here: its gradient is faster than a pooling's and keeps nothing."""
    height, width = (side // 2 * 2 or 1 for side in x.shape[2:])
    scale = [1.0 if side == 1 else 0.5 for side in (height, width)]
    return F.interpolate(x[:, :, :height, :width], scale_factor=scale, mode="bilinear")


def conv_doubled(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each pixel becomes four, then a 3x3 convolution: (N, in, H, W), (out, in, 3, 3) -> (N, out, 2H, 2W).

    Both are one transposed convolution of stride 2 with less than half the products, as each pixel of the result sees
    only 2x2 of ``x``: its 4x4 kernel sums the flipped weight at four places (Karras et al., 2018, published code;
    "fused scale"). The sum is four times a mean, as ONNX leaves out another divisor and says nothing.
    """
    kernel = 4 * F.avg_pool2d(F.pad(weight.flip(2, 3), (1, 1, 1, 1)), 2, stride=1)
    return F.conv_transpose2d(x, kernel.transpose(0, 1), bias, stride=2, padding=1)


def normalise_second_moment(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Scale each row of (N, dim), or each pixel's features in (N, C, H, W), to a mean square of 1: x / sqrt(mean square
    + epsilon), at least in single precision (Karras et al., 2018, section 4.2)."""
    return x * (wide(x).square().mean(dim=1, keepdim=True) + epsilon).rsqrt().to(x.dtype)
