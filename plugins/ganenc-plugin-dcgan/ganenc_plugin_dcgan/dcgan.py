"""A generator that is a row of layers: DCGAN (Radford et al., 2016) and its many relatives."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_dcgan import reading
from ganenc_plugin_dcgan.specs import (
    Convolution,
    Linear,
    Norm,
    Pad,
    Reshape,
    RowOptions,
    Shape,
    Upsample,
    inputs_of,
    row_spec,
    shapes_of,
)

__all__ = ["DCGAN"]

_FUNCTIONS = {
    "relu": F.relu, "elu": F.elu, "selu": F.selu, "gelu": F.gelu, "silu": F.silu, "softplus": F.softplus,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid,
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
        if isinstance(layer, Pad):
            above, below, left, right = layer.edges
            return F.pad(x if x.ndim == 4 else x[:, :, None, None], (left, right, above, below))
        if layer.name == "leaky_relu":
            return F.leaky_relu(x, layer.slope)
        return x.softmax(1) if layer.name == "softmax" else _FUNCTIONS[layer.name](x)


def _module(layer: Any, shape: Shape) -> nn.Module:
    """The module of a layer that is given this shape."""
    if isinstance(layer, Linear):
        width = shape[0] * shape[1] * shape[2] if len(shape) == 3 else shape[0]
        return nn.Sequential(nn.Flatten(), nn.Linear(width, layer.outputs, layer.bias))
    if isinstance(layer, Convolution):
        return _Convolution(shape[0], layer)
    if isinstance(layer, Norm):
        one, two = (nn.BatchNorm1d, nn.BatchNorm2d) if layer.name == "batch" else (nn.InstanceNorm1d, nn.InstanceNorm2d)
        return (one if len(shape) == 1 else two)(shape[0], layer.eps, affine=layer.affine)
    return _Plain(layer)


class DCGAN(Generator):
    """A row of layers, as its spec lists them.

    Latents: ``z`` (N, dim) and, where there are classes, ``c``: rows with a single 1, or rows of a table.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        options = RowOptions.from_mapping(spec.options, where="the options of a dcgan")
        self._labels = options.labels
        whole = row_spec(
            options.layers, z_dim=spec.prior.dim, labels=options.labels, classes=spec.classes,
            value_range=spec.value_range,
        )  # fmt: skip
        for name in ("size", "channels", "layout"):
            if getattr(spec, name) != getattr(whole, name):
                raise SpecError(f"The layers of this dcgan give {name} {getattr(whole, name)}; its spec differs.")
        if (options.labels is None) != (not spec.classes):
            raise SpecError("A dcgan with classes says in `labels` how they go in, and one without says nothing.")
        if options.labels and options.labels.kind == "table":
            self.table = nn.Embedding(spec.classes, options.labels.dim)
        elif options.labels and options.labels.dim != spec.classes:
            raise SpecError(f"Rows with a single 1 are as long as there are classes, {spec.classes}.")
        shapes = shapes_of(options.layers, inputs_of(spec.prior.dim, options.labels))
        self.layers = nn.ModuleList(map(_module, options.layers, shapes))

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => rows (N, dim)."""
        rows = self.label_rows(labels)
        return rows @ self.table.weight.to(rows.dtype) if self._labels and self._labels.kind == "table" else rows

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W)."""
        x = latents["z"].to(self.dtype)
        if self._labels:
            x = self._joined(x, latents["c"].to(self.dtype))
        for layer in self.layers:
            x = layer(x)
        return x

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file holds a plain row of layers, from a vector to an image."""
        return reading.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: as the settings beside it say, or by convention."""
        spec, tensors, taken_as = reading.convert(checkpoint)
        generator = cls.from_tensors(spec, tensors).eval()
        generator.taken_as = taken_as
        reading.check_samples(checkpoint, generator)
        return generator

    def _joined(self, z: Tensor, rows: Tensor) -> Tensor:
        joined = self._labels.joined if self._labels else "after"
        if joined == "times":
            return z * rows
        return torch.cat([z, rows] if joined == "after" else [rows, z], 1)
