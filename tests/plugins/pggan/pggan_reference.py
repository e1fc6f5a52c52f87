"""PGGAN as its two published codes run it, in float64 and straight from the tensors that their files hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["genforce", "genforce_weights", "nearest", "tensorflow", "tensorflow_weights", "transposed"]


def nearest(x: Tensor, factor: int = 2) -> Tensor:
    """Each pixel becomes ``factor`` x ``factor`` alike."""
    return x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def normed(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    return x / torch.sqrt((x * x).mean(1, keepdim=True) + epsilon)


def spread(kernel: Tensor) -> Tensor:
    """A 3x3 kernel (h, w, ...) summed over the four shifts inside 4x4."""
    out = kernel.new_zeros(4, 4, *kernel.shape[2:])
    for y in (0, 1):
        for x in (0, 1):
            out[y : y + 3, x : x + 3] += kernel
    return out


def transposed(x: Tensor, weight: Tensor) -> Tensor:
    """TensorFlow's transposed convolution of stride 2, by its definition: the gradient of a convolution.

    Args:
        x: (N, C, H, W).
        weight: (4, 4, D, C).

    Returns:
        (N, D, 2H, 2W).
    """
    n, _, h, w = x.shape
    image = torch.zeros(n, weight.shape[2], 2 * h, 2 * w, dtype=x.dtype, requires_grad=True)
    with torch.enable_grad():
        made = F.conv2d(image, weight.permute(3, 2, 0, 1), stride=2, padding=1)  # "same" padding: one on each side
        return torch.autograd.grad(made, image, x)[0]


# NVIDIA's TensorFlow network


def tensorflow_weights(
    size: int = 16,
    *,
    widths: tuple[int, ...] = (6, 5, 4),
    inputs: int = 7,
    channels: int = 3,
    fused: bool = True,
    lod: float = 0.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random variables of the generator, none at its initial value; ``inputs`` counts z and the label."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=rng) * std

    out = {"lod": torch.tensor(lod)}
    last = len(widths) - 1
    assert 4 << last == size
    for level, width in enumerate(widths):
        side = f"{4 << level}x{4 << level}"
        if level == 0:
            out["4x4/Dense/weight"] = draw(inputs, width * 16)
            out["4x4/Dense/bias"] = draw(width, std=0.2)
            out["4x4/Conv/weight"] = draw(3, 3, width, width)
            out["4x4/Conv/bias"] = draw(width, std=0.2)
        else:
            below = widths[level - 1]
            name = "Conv0_up" if fused else "Conv0"
            out[f"{side}/{name}/weight"] = draw(3, 3, width, below) if fused else draw(3, 3, below, width)
            out[f"{side}/{name}/bias"] = draw(width, std=0.2)
            out[f"{side}/Conv1/weight"] = draw(3, 3, width, width)
            out[f"{side}/Conv1/bias"] = draw(width, std=0.2)
        out[f"ToRGB_lod{last - level}/weight"] = draw(1, 1, width, channels)
        out[f"ToRGB_lod{last - level}/bias"] = draw(channels, std=0.2)
    return out


def tensorflow(variables: Mapping[str, Tensor], z: Tensor, labels: Tensor | None = None, **arguments: Any) -> Tensor:
    """The published network, its images grown level by level and blended by ``lod``: (N, z) => (N, C, H, W)."""
    values = {name: value.double() for name, value in variables.items()}
    scaled = arguments.get("use_wscale", True)
    slope = 0.2 if arguments.get("use_leakyrelu", True) else 0.0
    epsilon = arguments.get("pixelnorm_epsilon", 1e-8)
    last = max(int(name[9:].split("/")[0]) for name in values if name.startswith("ToRGB_lod"))

    def weight(name: str, gain: float, inputs: int) -> Tensor:
        return values[f"{name}/weight"] * (gain / math.sqrt(inputs) if scaled else 1.0)

    def act(name: str, x: Tensor) -> Tensor:
        x = F.leaky_relu(x + values[f"{name}/bias"][:, None, None], slope)
        return normed(x, epsilon) if arguments.get("use_pixelnorm", True) else x

    def conv(name: str, x: Tensor) -> Tensor:
        kernel = weight(name, math.sqrt(2), 9 * x.shape[1])
        return act(name, F.conv2d(x, kernel.permute(3, 2, 0, 1), padding=1))

    def up(side: str, x: Tensor) -> Tensor:
        if f"{side}/Conv0/weight" in values:
            return conv(f"{side}/Conv0", nearest(x))
        kernel = spread(weight(f"{side}/Conv0_up", math.sqrt(2), 9 * x.shape[1]))
        return act(f"{side}/Conv0_up", transposed(x, kernel))

    def draw(level: int, x: Tensor) -> Tensor:
        name = f"ToRGB_lod{last - level}"
        image = torch.einsum("nchw,cd->ndhw", x, weight(name, 1.0, x.shape[1])[0, 0])
        return image + values[f"{name}/bias"][:, None, None]

    x = z.double() if labels is None else torch.cat([z.double(), labels.double()], 1)
    x = normed(x, epsilon) if arguments.get("normalize_latents", True) else x
    x = (x @ weight("4x4/Dense", math.sqrt(2) / 4, x.shape[1])).reshape(len(x), -1, 4, 4)
    x = conv("4x4/Conv", act("4x4/Dense", x))
    images = draw(0, x)
    for level in range(1, last + 1):
        side = f"{4 << level}x{4 << level}"
        x = conv(f"{side}/Conv1", up(side, x))
        t = (values["lod"] - (last - level)).clamp(0, 1)
        images = draw(level, x) * (1 - t) + nearest(images) * t
    return images


# genforce's network


def genforce_weights(
    *,
    widths: tuple[int, ...] = (6, 5, 4),
    inputs: int = 7,
    channels: int = 3,
    fused: bool = False,
    lod: float = 0.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random weights of the generator, none at its initial value."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=rng) * std

    out = {"lod": torch.tensor(lod)}
    for level, width in enumerate(widths):
        below = widths[level - 1] if level else inputs
        side = 3 if level else 4
        shape = (below, width, 3, 3) if fused and level else (width, below, side, side)
        out[f"layer{2 * level}.weight"] = draw(*shape)
        out[f"layer{2 * level}.bias"] = draw(width, std=0.2)
        out[f"layer{2 * level + 1}.weight"] = draw(width, width, 3, 3)
        out[f"layer{2 * level + 1}.bias"] = draw(width, std=0.2)
        out[f"output{level}.weight"] = draw(channels, width, 1, 1)
        out[f"output{level}.bias"] = draw(channels, std=0.2)
    return out


def genforce(state: Mapping[str, Tensor], z: Tensor, *, fused: bool = False) -> Tensor:
    """The published network, which normalises before each layer: (N, z) => (N, C, H, W)."""
    values = {name: value.double() for name, value in state.items()}
    levels = sum(name.startswith("output") and name.endswith("weight") for name in values)
    lod = float(values["lod"])

    def layer(name: str, x: Tensor, *, gain: float = math.sqrt(2), padding: int = 1, up: bool = False) -> Tensor:
        x, kernel, bias = normed(x), values[f"{name}.weight"], values[f"{name}.bias"]
        kernel = kernel * (gain / math.sqrt(x.shape[1] * kernel.shape[2] * kernel.shape[3]))
        if up and fused:
            whole = spread(kernel.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
            return F.conv_transpose2d(x, whole, bias, stride=2, padding=1)
        return F.conv2d(nearest(x) if up else x, kernel, bias, padding=padding)

    z = normed(z.double()) * math.sqrt(z.shape[1])
    x, image = z[:, :, None, None], z
    for level in range(levels):
        left = levels - 1 - level
        if lod < left + 1:
            x = F.leaky_relu(layer(f"layer{2 * level}", x, padding=1 if level else 3, up=level > 0), 0.2)
            x = F.leaky_relu(layer(f"layer{2 * level + 1}", x), 0.2)
        if left - 1 < lod <= left:
            image = layer(f"output{level}", x, gain=1.0, padding=0)
        elif left < lod < left + 1:
            share = math.ceil(lod) - lod
            image = layer(f"output{level}", x, gain=1.0, padding=0) * share + nearest(image) * (1 - share)
        elif lod >= left + 1:
            image = nearest(image)
    return image
