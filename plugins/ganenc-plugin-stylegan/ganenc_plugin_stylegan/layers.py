"""The layers that style-based generators are made of, in plain torch operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "FullyConnected",
    "adaptive_instance_norm",
    "blur",
    "fir_kernel",
    "modulated_conv",
    "upsample",
]


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
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, 0.2) * math.sqrt(2) if self.activation == "lrelu" else x


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
        energy = weight.square().sum(dim=(2, 3))
        demodulation = (styles.square() @ energy.t() + 1e-8).rsqrt()
    x = x * styles[:, :, None, None].to(dtype)
    if up is None:
        x = F.conv2d(x, weight.to(dtype), padding=weight.shape[-1] // 2)
    else:
        x = _conv_up(x, weight.to(dtype), up)
    return x if demodulation is None else x * demodulation[:, :, None, None].to(dtype)


def _conv_up(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Transposed convolution of stride 2, then the low-pass filter times 4: (N, in, H, W) => (N, out, 2H, 2W)."""
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return _filtered(x, kernel.flip(0, 1) * 4, padding=kernel.shape[0] // 2 - 1)


def _filtered(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, kernel.to(x.dtype).expand(channels, 1, *kernel.shape), padding=padding, groups=channels)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """The low-pass filter over each channel, zeros outside (Karras et al., 2019, section 2).

    (N, C, H, W), ``kernel`` with odd sides => (N, C, H, W).
    """
    return _filtered(x, kernel, padding=kernel.shape[0] // 2)


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
    scale, shift = style[:, :, None, None].to(dtype).chunk(2, dim=1)
    centred = x.to(dtype) - x.mean(dim=(2, 3), keepdim=True, dtype=dtype)
    deviation = torch.linalg.vector_norm(centred, dim=(2, 3), keepdim=True) / math.sqrt(x.shape[2] * x.shape[3])
    return torch.addcmul(shift, centred, (scale + 1) * (deviation.square() + eps).rsqrt()).to(x.dtype)
