"""The modules of a row's layers."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_dcgan.specs import (
    Activation,
    Convolution,
    Labels,
    Linear,
    Norm,
    Pad,
    Reshape,
    Shape,
    Shuffle,
    Upsample,
)

__all__ = ["join", "module_of"]

_FUNCTIONS = {
    "relu": F.relu, "elu": F.elu, "selu": F.selu, "gelu": F.gelu, "silu": F.silu, "mish": F.mish,
    "softplus": F.softplus, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
}  # fmt: skip


class _Convolution(nn.Module):
    """(N, inputs, H, W) or (N, inputs) => (N, outputs, H', W')."""

    def __init__(self, inputs: int, layer: Convolution) -> None:
        super().__init__()
        make = nn.ConvTranspose2d if layer.transposed else nn.Conv2d
        above, below, left, right = layer.padding
        even = above == below >= 0 and left == right >= 0
        further = {}
        if layer.transposed and min(below, right) < 0:  # Beyond what the kernel reaches there is the bias alone.
            further["output_padding"] = (max(0, -below), max(0, -right))
            below, right = max(0, below), max(0, right)
        self.edges = None if even else ((left, right, above, below), (-left, -right, -above, -below))
        self.inner = make(
            inputs, layer.outputs, layer.kernel, layer.stride, (above, left) if even else 0, bias=layer.bias,
            dilation=layer.dilation, **further,
        )  # fmt: skip
        self.transposed = layer.transposed

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.ndim == 4 else x[:, :, None, None]
        if self.edges is not None and not self.transposed:
            x = F.pad(x, self.edges[0])
        x = self.inner(x)
        return F.pad(x, self.edges[1]) if self.edges is not None and self.transposed else x


class _Plain(nn.Module):
    """A layer without weights."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, Reshape):
            channels, height, width = layer.shape
            order = "(h w c)" if layer.channels_last else "(c h w)"
            return rearrange(x.flatten(1), f"n {order} -> n c h w", c=channels, h=height, w=width)
        if isinstance(layer, Upsample):
            x = x if x.ndim == 4 else x[:, :, None, None]
            size = layer.size or (x.shape[2] * layer.factor[0], x.shape[3] * layer.factor[1])
            return F.interpolate(x, size, mode=layer.mode)
        if isinstance(layer, Shuffle):
            return F.pixel_shuffle(x if x.ndim == 4 else x[:, :, None, None], layer.factor)
        if isinstance(layer, Pad):
            above, below, left, right = layer.edges
            return F.pad(x if x.ndim == 4 else x[:, :, None, None], (left, right, above, below))
        if layer.name == "leaky_relu":
            return F.leaky_relu(x, layer.slope)
        return x.softmax(1) if layer.name == "softmax" else _FUNCTIONS[layer.name](x)


def module_of(layer: Any, shape: Shape) -> nn.Module:
    """The module of a layer that is given this shape."""
    if isinstance(layer, Linear):
        width = shape[0] * shape[1] * shape[2] if len(shape) == 3 else shape[0]
        return nn.Sequential(nn.Flatten(), nn.Linear(width, layer.outputs, layer.bias))
    if isinstance(layer, Convolution):
        return _Convolution(shape[0], layer)
    if isinstance(layer, Norm):
        if layer.name == "group":
            return nn.GroupNorm(layer.groups, shape[0], layer.eps, layer.affine)
        make = nn.InstanceNorm2d if layer.name == "instance" else nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
        return make(shape[0], layer.eps, affine=layer.affine)
    if isinstance(layer, Activation) and layer.name == "prelu":
        return nn.PReLU(shape[0])
    return _Plain(layer)


def join(z: Tensor, rows: Tensor, labels: Labels) -> Tensor:
    """What goes into the first layer: z (N, dim) and the rows of its classes."""
    if labels.joined == "times":
        return z * rows
    if labels.joined == "before":
        return torch.cat([rows, z], 1)
    own = z.shape[1] - labels.codes
    return torch.cat([z[:, :own], rows, z[:, own:]], 1)
