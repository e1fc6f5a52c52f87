"""The layers that style-based generators are made of, in plain torch operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange
from ganenc.encoders import autocasts, leaky_gradient
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "FullyConnected",
    "adaptive_instance_norm",
    "blur",
    "fir_kernel",
    "modulated_conv",
    "modulated_sum",
    "styled_conv",
    "upsample",
]

SLOPE = 0.2
"""Of the leaky ReLU below zero."""
SQRT2 = math.sqrt(2)
EPSILON = 1e-8
"""Added to the energy of a modulated weight (published code)."""
TINY = 1e-20
"""The smallest style that a weight is multiplied by: beside any other style it does not show."""


class FullyConnected(nn.Module):
    """A fully connected layer with equalised learning rate (Karras et al., 2018, section 4.1).

    Weights are stored divided by ``lr_multiplier`` and multiplied by ``lr_multiplier / sqrt(inputs)`` when used.

    Args:
        inputs: length of the input vectors.
        outputs: length of the output vectors.
        activation: ``linear`` or ``lrelu`` (slope 0.2, times sqrt(2)).
        bias: the bias at the start.
        lr_multiplier: learning rate of this layer over that of the network.
    """

    def __init__(
        self, inputs: int, outputs: int, *, activation: str = "linear", bias: float = 0.0, lr_multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr_multiplier))
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) => (N, outputs)."""
        x = F.linear(x * self.weight_gain, self.weight, self.bias * self.bias_gain)
        return F.leaky_relu(x, SLOPE) * SQRT2 if self.activation == "lrelu" else x


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """The separable low-pass filter with these taps, as an outer product that sums to 1: (len, len)."""
    row = torch.tensor(taps, dtype=torch.float32)
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the size: zeros in between, then the low-pass filter times 4 (Karras et al., 2020, appendix B).

    (N, C, H, W) => (N, C, 2H, 2W). Zero insertion and filter are one transposed convolution; ``kernel`` has even sides.
    """
    channels, size = x.shape[1], kernel.shape[0]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, size, size)
    return F.conv_transpose2d(x, weight, stride=2, padding=size // 2 - 1, groups=channels)


def modulated_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: Tensor | None = None,
) -> Tensor:
    """Convolution whose weight is scaled per sample by the style, then normalised (Karras et al., 2020, Equation 3).

    Scaling the activations before and after one shared convolution gives the same numbers as scaling the weights per
    sample, without a grouped convolution: sum(w s x) d = d sum(w (s x)).

    Args:
        x: features (N, in, H, W).
        weight: (out, in, k, k).
        styles: (N, in).
        demodulate: whether to scale each output channel to unit norm of its modulated weight.
        up: a low-pass filter, to double the size with it.

    Returns:
        (N, out, H, W), or (N, out, 2H, 2W) with ``up``.
    """
    dtype = x.dtype
    demodulation = None
    if demodulate:
        demodulation = _demodulation(styles, _energy(weight))
    x = x * rearrange(styles, "n i -> n i 1 1").to(dtype)
    if up is None:
        x = F.conv2d(x, weight.to(dtype), padding=weight.shape[-1] // 2)
    else:
        x = _conv_up(x, weight.to(dtype), up)
    return x if demodulation is None else x * rearrange(demodulation, "n o -> n o 1 1").to(dtype)


def modulated_sum(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """A modulated convolution of one pixel's size, not normalised: a sum over channels, as few images come of it.

    The styles go into the weight. The sum is a product of matrices, for which features need no other layout.

    Args:
        x: features (N, in, H, W).
        weight: (out, in, 1, 1).
        styles: (N, in).

    Returns:
        (N, out, H, W).
    """
    modulated = (rearrange(weight, "o i 1 1 -> o i") * rearrange(styles, "n i -> n 1 i")).to(x.dtype)
    height = x.shape[2]
    if x.is_contiguous(memory_format=torch.channels_last):
        out = rearrange(x, "n i h w -> n (h w) i") @ modulated.mT
        return rearrange(out, "n (h w) o -> n o h w", h=height)
    return rearrange(modulated @ rearrange(x, "n i h w -> n i (h w)"), "n o (h w) -> n o h w", h=height)


def _demodulation(styles: Tensor, energy: Tensor) -> Tensor:
    """What each output channel is scaled by: (N, in), the weight's energy (out, in) => (N, out)."""
    return (styles.square() @ energy.t() + EPSILON).rsqrt()


def styled_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    noise: Tensor | None = None,
    *,
    up: Tensor | None = None,
    clamp: float | None = None,
    modulation: str | None = None,
) -> Tensor:
    """Modulated convolution, noise, bias, leaky ReLU times sqrt(2), clamp: a whole layer of StyleGAN2's synthesis.

    Where the layer is frozen, its gradient to features and styles is written out: of the layer's features it keeps its
    output alone, where autograd keeps four or five. The gradient has gradients itself.

    Args:
        x: features (N, in, H, W).
        weight: (out, in, k, k).
        styles: (N, in).
        bias: (out,).
        noise: (N or 1, 1, H', W'), at its strength.
        up: a low-pass filter, to double the size with it.
        clamp: the largest magnitude that comes out.
        modulation: of a frozen layer that is differentiated, what styles and demodulation are multiplied into: the
            ``features``, or the ``weights`` of each sample where those are fewer; by default those of single samples.

    Returns:
        (N, out, H', W'), of twice the size with ``up``.
    """
    weights = [given for given in (weight, bias, noise) if given is not None]
    precise = {given.dtype for given in (x, styles, *weights)} <= {torch.float32, torch.float64}
    frozen = not (torch.is_grad_enabled() and any(given.requires_grad for given in weights))
    if frozen and precise and not autocasts(x):
        if torch.is_grad_enabled() and (x.requires_grad or styles.requires_grad):
            out: Tensor = _StyledConv.apply(x, styles, weight, bias, noise, up, clamp, modulation)
            return out
        return _frozen_layer(x, styles, weight, bias, noise, up, clamp, _energy(weight))
    x = modulated_conv(x, weight, styles, up=up)
    if noise is not None:
        x = x + noise.to(x.dtype)
    x = F.leaky_relu(x + bias.to(x.dtype)[:, None, None], SLOPE) * SQRT2
    return x if clamp is None else x.clamp(-clamp, clamp)


def _frozen_layer(
    x: Tensor,
    styles: Tensor,
    weight: Tensor,
    bias: Tensor,
    noise: Tensor | None,
    up: Tensor | None,
    clamp: float | None,
    energy: Tensor,
    *,
    fold: bool = False,
) -> Tensor:
    """What :func:`styled_conv` gives, in place on what the convolution gives.

    sqrt(2) goes through the leaky ReLU into demodulation, bias and noise.

    Args:
        energy: the weight's (out, in).
        fold: multiply styles and demodulation into the weight of each sample, not into the features.
    """
    gain = _demodulation(styles, energy) * SQRT2
    if fold:
        y = _each(lambda x, *own: _convolve(x, _modulate(weight, *own), up, bias * SQRT2), x, styles, gain)
    else:
        y = _convolve(x * rearrange(styles, "n i -> n i 1 1"), weight, up)
        y.mul_(rearrange(gain, "n o -> n o 1 1")).add_(rearrange(bias * SQRT2, "o -> o 1 1"))
    if noise is not None:
        y.add_(noise, alpha=SQRT2)
    F.leaky_relu_(y, SLOPE)
    return y if clamp is None else y.clamp_(-clamp, clamp)


class _StyledConv(torch.autograd.Function):
    """A frozen layer of the synthesis and its gradient, for :func:`styled_conv`.

    What came before the leaky ReLU is known from what came out, so the gradient needs no other features than those.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        styles: Tensor,
        weight: Tensor,
        bias: Tensor,
        noise: Tensor | None,
        up: Tensor | None,
        clamp: float | None,
        modulation: str | None,
    ) -> Tensor:
        energy = _energy(weight)
        fold = len(x) == 1 if modulation is None else modulation == "weights"
        ctx.clamp, ctx.fold = clamp, fold and weight.numel() < x[0].numel()
        y = _frozen_layer(x, styles, weight, bias, noise, up, clamp, energy, fold=ctx.fold)
        ctx.save_for_backward(x, styles, weight, bias, noise, up, energy, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, styles, weight, bias, noise, up, energy, y = ctx.saved_tensors
        demodulation = _demodulation(styles, energy)
        gain = demodulation * SQRT2
        before, along = _before_activation(grad, y, bias, noise, ctx.clamp, None if ctx.fold else gain)
        through_energy = -styles * ((along * demodulation.square()) @ energy)
        if ctx.fold:
            to_x = _each(lambda *one: _gradient(*one[:2], _modulate(weight, *one[2:]), up), before, x, styles, gain)
            to_styles = _dot(x, to_x) / _divisible(styles)
        else:
            to_scaled = _gradient(before, x, weight, up)
            to_styles = _dot(x, to_scaled)
            to_x = to_scaled * rearrange(styles, "n i -> n i 1 1")
        return to_x, to_styles + through_energy, None, None, None, None, None, None


def _before_activation(
    grad: Tensor, y: Tensor, bias: Tensor, noise: Tensor | None, clamp: float | None, gain: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gradient before the leaky ReLU, and its product with what the convolution gave there, summed: (N, out).

    ``y`` came out of the layer; the convolution gave what bias and noise leave of it. The gradient, not the product, is
    multiplied by the ``gain`` (N, out) if there is one.
    """
    if clamp is not None:
        grad = torch.ops.aten.hardtanh_backward(grad, y, -clamp, clamp)
    before = leaky_gradient(grad, y, SLOPE)
    along = _dot(grad, y) - before.sum((2, 3)) * (bias * SQRT2)
    if noise is not None:
        along = along - (before.flatten(2) @ noise.flatten(2).mT).squeeze(2) * SQRT2
    return before if gain is None else before * rearrange(gain, "n o -> n o 1 1"), along


def _each(work: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """What is done with each sample (1, ...) alone, one after another: torch's grouped convolutions take longer."""
    found = [work(*one) for one in zip(*(one.split(1) for one in given), strict=True)]
    return found[0] if len(found) == 1 else torch.cat(found)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of ``a * b`` over height and width: twice (N, C, H, W) => (N, C)."""
    return (a * b).sum((2, 3))


def _energy(weight: Tensor) -> Tensor:
    """The sum of squares of each kernel: (out, in, k, k) => (out, in)."""
    return weight.square().sum(dim=(2, 3))


def _divisible(styles: Tensor) -> Tensor:
    """The styles, with those so near 0 that nothing can be divided by them moved away by less than rounding shows."""
    return torch.where(styles.abs() < TINY, TINY, styles)


def _modulate(weight: Tensor, styles: Tensor, gain: Tensor) -> Tensor:
    """The weight (out, in, k, k) of one sample: styles (1, in), factors of the outputs (1, out)."""
    return weight * rearrange(gain.t() * _divisible(styles), "o i -> o i 1 1")


def _convolve(x: Tensor, weight: Tensor, up: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """The plain convolution, or the one that doubles the size."""
    if up is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, bias=bias)
    return _conv_up(x, weight, up, bias)


def _gradient(grad: Tensor, x: Tensor, weight: Tensor, up: Tensor | None) -> Tensor:
    """The gradient of :func:`_convolve` to its input ``x``."""
    stride, padding = [1, 1], [weight.shape[-1] // 2] * 2
    if up is not None:
        grad = _filtered(grad, up * 4, padding=up.shape[0] // 2)
        stride, padding, weight = [2, 2], [0, 0], _transposed(weight)
    to_x: Tensor
    to_x, _, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, [1, 1], up is not None, [0, 0], 1, [True, False, False]
    )
    return to_x


def _conv_up(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Transposed convolution of stride 2, then the low-pass filter times 4: (N, in, H, W) => (N, out, 2H, 2W)."""
    x = F.conv_transpose2d(x, _transposed(weight), stride=2)
    return _filtered(x, kernel.flip(0, 1) * 4, padding=kernel.shape[0] // 2 - 1, bias=bias)


def _transposed(weight: Tensor) -> Tensor:
    """(out, in, k, k) => (in, out, k, k), channels last if that is how the weight lies.

    As one matrix, then place by place: torch turns matrices in blocks, and takes three times as long for all at once.
    """
    if not weight.is_contiguous(memory_format=torch.channels_last) or weight.device.type != "cpu":
        return weight.transpose(0, 1)
    turned = rearrange(weight, "o i h w -> (h w i) o").contiguous()
    size = weight.shape[2]
    return rearrange(turned, "(h w i) o -> i o h w", h=size, w=size).contiguous(memory_format=torch.channels_last)


def _filtered(x: Tensor, kernel: Tensor, padding: int, bias: Tensor | None = None) -> Tensor:
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, *kernel.shape[-2:])[:, None]
    return F.conv2d(x, weight, bias=bias, padding=padding, groups=channels)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """The low-pass filter over each channel, zeros outside (Karras et al., 2019, section 2).

    (N, C, H, W), ``kernel`` with odd sides, one for all channels or (C, k, k) => (N, C, H, W).
    """
    return _filtered(x, kernel, padding=kernel.shape[-1] // 2)


def adaptive_instance_norm(x: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """AdaIN (Karras et al., 2019, Equation 1): each channel to mean 0 and deviation 1, then scaled and shifted.

    Computed in single precision at least. In two passes: torch's own norms lose digits on channels-last features whose
    mean is far larger than their deviation.

    Args:
        x: features (N, C, H, W).
        style: (N, 2C), the scales less 1, then the shifts.
        eps: added to the variance.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    scale, shift = rearrange(style.to(dtype), "n (two c) -> two n c 1 1", two=2)
    centred = x.to(dtype) - x.mean(dim=(2, 3), keepdim=True, dtype=dtype)
    deviation = torch.linalg.vector_norm(centred, dim=(2, 3), keepdim=True) / math.sqrt(x.shape[2] * x.shape[3])
    return torch.addcmul(shift, centred, (scale + 1) * (deviation.square() + eps).rsqrt()).to(x.dtype)
