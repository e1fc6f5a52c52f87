"""PGGANs of mmgeneration and of pytorch_GAN_zoo written down a second time, plainly, in their own names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mm_weights(
    widths: Sequence[int] = (6, 5, 4), inputs: int = 7, *, fused: bool = True, channels: int = 3
) -> dict[str, Tensor]:
    """mmgeneration's state; a fused convolution that enlarges has its inputs first."""
    rng = torch.Generator().manual_seed(3)
    shapes = {"noise2feat.linear.weight_orig": (16 * widths[0], inputs), "noise2feat.bias": (1, widths[0], 1, 1)}
    pairs = [(widths[0], widths[0])]
    for before, after in itertools.pairwise(widths):
        pairs += [(before, after), (after, after)]
    for index, (before, after) in enumerate(pairs):
        first = (before, after) if fused and index % 2 else (after, before)
        shapes |= {f"conv_blocks.{index}.conv.weight_orig": (*first, 3, 3), f"conv_blocks.{index}.conv.bias": (after,)}
    for level, width in enumerate(widths):
        shapes[f"torgb_layers.{level}.conv.weight_orig"] = (channels, width, 1, 1)
        shapes[f"torgb_layers.{level}.conv.bias"] = (channels,)
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def mm_images(tensors: Mapping[str, Tensor], z: Tensor, *, fused: bool = True) -> Tensor:
    """In double precision, as the published code computes."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def norm(x: Tensor, eps: float = 1e-5) -> Tensor:
        return x / (x.norm(dim=1, keepdim=True) / math.sqrt(x.shape[1]) + eps)

    def equalised(name: str, gain: float) -> Tensor:
        weight = t[f"{name}.weight_orig"]
        return weight * gain / math.sqrt(weight[0].numel())

    def block(x: Tensor, index: int) -> Tensor:
        name = f"conv_blocks.{index}.conv"
        weight, bias = equalised(name, math.sqrt(2)), t[f"{name}.bias"]
        if index % 2 == 0:
            x = F.conv2d(x, weight, bias, padding=1)
        elif fused:
            weight = F.pad(weight, (1, 1, 1, 1))
            weight = sum(weight[..., a : a + 4, b : b + 4] for a in (0, 1) for b in (0, 1))
            x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
        else:
            x = F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)
        return norm(F.leaky_relu(x, 0.2))

    x = F.linear(norm(z.double(), 1e-6), equalised("noise2feat.linear", math.sqrt(2) / 4)).view(len(z), -1, 4, 4)
    x = norm(F.leaky_relu(x + t["noise2feat.bias"], 0.2))
    levels = sum(name.startswith("torgb_layers") for name in t) // 2
    for index in range(2 * levels - 1):
        x = block(x, index)
    name = f"torgb_layers.{levels - 1}.conv"
    return F.conv2d(x, equalised(name, 1.0), t[f"{name}.bias"])


def zoo_weights(widths: Sequence[int] = (6, 5, 4), inputs: int = 7, *, channels: int = 3) -> dict[str, Tensor]:
    """pytorch_GAN_zoo's state."""
    rng = torch.Generator().manual_seed(4)
    shapes: dict[str, tuple[int, ...]] = {"formatLayer": (16 * widths[0], inputs)}
    shapes["groupScale0.0"] = (widths[0], widths[0], 3, 3)
    for level, (before, after) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"scaleLayers.{level}.0": (after, before, 3, 3), f"scaleLayers.{level}.1": (after, after, 3, 3)}
    shapes |= {f"toRGBLayers.{level}": (channels, width, 1, 1) for level, width in enumerate(widths)}
    out = {f"{name}.module.weight": torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return out | {f"{name}.module.bias": torch.randn(shape[0], generator=rng) for name, shape in shapes.items()}


def zoo_images(tensors: Mapping[str, Tensor], z: Tensor, config: Mapping[str, object]) -> Tensor:
    """In double precision, as the published code computes; z with the label at its end."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    leak, alpha = float(config.get("leakyReluLeak", 0.2)), float(config.get("alpha", 0))  # type: ignore[arg-type]

    def norm(x: Tensor) -> Tensor:
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    def layer(name: str, x: Tensor) -> Tensor:
        weight, bias = t[f"{name}.module.weight"], t[f"{name}.module.bias"]
        x = F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        return x * math.sqrt(2 / weight[0].numel()) if config.get("equalizedlR", True) else x

    x = norm(F.leaky_relu(layer("formatLayer", norm(z.double())), leak).view(len(z), -1, 4, 4))
    x = before = norm(F.leaky_relu(layer("groupScale0.0", x), leak))
    levels = sum(name.startswith("toRGBLayers") for name in t) // 2
    for level in range(levels - 1):
        before, x = x, F.interpolate(x, scale_factor=2)
        for index in (0, 1):
            x = norm(F.leaky_relu(layer(f"scaleLayers.{level}.{index}", x), leak))
    image = layer(f"toRGBLayers.{levels - 1}", x)
    if alpha > 0:
        lower = F.interpolate(layer(f"toRGBLayers.{levels - 2}", before), scale_factor=2)
        image = alpha * lower + (1 - alpha) * image
    return image.tanh() if config.get("lossCriterion") in ("DCGAN", "MSE") else image
