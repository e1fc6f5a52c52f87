"""StyleGAN1s of mmgeneration and of pytorch_GAN_zoo written down a second time, plainly, in their own names.

Images are made without noise maps or with those given, in double precision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

W = 9


def _drawn(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tuple(shape), generator=rng) for name, shape in shapes.items()}


def _adain(x: Tensor, style: Tensor, eps: float) -> Tensor:
    scale, shift = style[:, :, None, None].chunk(2, 1)
    var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return scale * (x - mean) / (var + eps).sqrt() + shift


def mm_weights(
    widths: Sequence[int] = (6, 5, 4), *, place: int = 0, layers: int = 3, channels: int = 3
) -> dict[str, Tensor]:
    """mmgeneration's state; ``place`` is where the convolution of an enlarging layer stands."""
    shapes: dict[str, Sequence[int]] = {"convs.0.conv1.input": (1, widths[0], 4, 4)}
    for index in range(layers):
        shapes |= {f"style_mapping.{index + 1}.linear.weight_orig": (W, W), f"style_mapping.{index + 1}.bias": (W,)}
    for level, (before, after) in enumerate(zip([widths[0], *widths], widths)):
        at = f"convs.{level}"
        if level:
            shapes |= {f"{at}.conv1.{place}.conv.weight_orig": (after, before, 3, 3)}
            shapes |= {f"{at}.conv1.{place}.conv.bias": (after,), f"{at}.conv1.{place + 1}.kernel": (3, 3)}
        shapes |= {f"{at}.conv2.conv.weight_orig": (after, after, 3, 3), f"{at}.conv2.conv.bias": (after,)}
        for number in (1, 2):
            shapes |= {f"{at}.noise_injector{number}.weight": (1,), f"{at}.adain{number}.affine.bias": (2 * after,)}
            shapes[f"{at}.adain{number}.affine.weight_orig"] = (2 * after, W)
            shapes[f"injected_noise_{2 * level + number - 1}"] = (1, 1, 4 << level, 4 << level)
        shapes |= {
            f"to_rgbs.{level}.conv.weight_orig": (channels, after, 1, 1),
            f"to_rgbs.{level}.conv.bias": (channels,),
        }
    return _drawn(shapes, 5)


def mm(tensors: Mapping[str, Tensor], z: Tensor, *, place: int = 0) -> tuple[Tensor, Tensor]:
    """z (N, W) => w (N, W) and images, with the stored noise."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def equalised(name: str, gain: float = math.sqrt(2)) -> Tensor:
        weight = t[f"{name}.weight_orig"]
        return weight * gain / math.sqrt(weight[0].numel())

    w = z.double() / (z.double().norm(dim=1, keepdim=True) / math.sqrt(W) + 1e-6)
    for index in range(1, 1 + sum(name.startswith("style_mapping") for name in t) // 2):
        name = f"style_mapping.{index}"
        w = F.leaky_relu(F.linear(w, equalised(f"{name}.linear", 1.0) * 0.01) + t[f"{name}.bias"] * 0.01, 0.2)
    x = t["convs.0.conv1.input"].expand(len(z), -1, -1, -1)
    levels = sum(name.startswith("to_rgbs") for name in t) // 2
    for level in range(levels):
        at = f"convs.{level}"
        for number in (1, 2):
            conv = f"{at}.conv1.{place}.conv" if number == 1 else f"{at}.conv2.conv"
            if number == 2 or level:
                x = F.interpolate(x, scale_factor=2) if number == 1 else x
                x = F.conv2d(x, equalised(conv), t[f"{conv}.bias"], padding=1)
            if number == 1 and level:
                x = F.leaky_relu(x, 0.2) if place == 0 else x
                kernel = t[f"{at}.conv1.{place + 1}.kernel"].flip(0, 1)
                x = F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
            x = x + t[f"{at}.noise_injector{number}.weight"] * t[f"injected_noise_{2 * level + number - 1}"]
            affine = f"{at}.adain{number}.affine"
            x = _adain(F.leaky_relu(x, 0.2), F.linear(w, equalised(affine), t[f"{affine}.bias"]), 1e-5)
    last = f"to_rgbs.{levels - 1}.conv"
    return w, F.conv2d(x, equalised(last), t[f"{last}.bias"])


def zoo_weights(
    widths: Sequence[int] = (W, 5, 4), z_dim: int = 7, *, layers: int = 3, channels: int = 3
) -> dict[str, Tensor]:
    """pytorch_GAN_zoo's state, whose first width is that of w."""
    layered: dict[str, tuple[int, ...]] = {}
    for index in range(layers):
        layered[f"mapping.FC.{index}"] = (W, W if index else z_dim)
    layered |= {"conv0": (W, W, 3, 3), "adain00.styleModulator": (2 * W, W), "adain01.styleModulator": (2 * W, W)}
    noise = ["noiseMod00", "noiseMod01"]
    for level, (before, after) in enumerate(itertools.pairwise(widths)):
        layered |= {f"scaleLayers.{level}.0": (after, before, 3, 3), f"scaleLayers.{level}.2": (after, after, 3, 3)}
        layered |= {f"scaleLayers.{level}.{place}.styleModulator": (2 * after, W) for place in (1, 3)}
        layered[f"toRGBLayers.{level}"] = (channels, after, 1, 1)
        noise += [f"noiseModulators.{level}.{place}" for place in (0, 1)]
    shapes: dict[str, Sequence[int]] = {f"{name}.module.weight": shape for name, shape in layered.items()}
    shapes |= {f"{name}.module.bias": shape[:1] for name, shape in layered.items()}
    shapes |= {f"{name}.module.weight": (1, 1, 1, 1) for name in noise}
    return _drawn({**shapes, "baseScale0": (1, W, 4, 4), "mean_w": (1, W)}, 6)


def zoo(
    tensors: Mapping[str, Tensor], z: Tensor, noise: Sequence[Tensor], config: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """z (N, z_dim) => w (N, W) and images, without truncation."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    leak = config.get("leakyReluLeak", 0.2)

    def layer(name: str, x: Tensor, multiplier: float = 1.0) -> Tensor:
        weight, bias = t[f"{name}.module.weight"], t[f"{name}.module.bias"]
        x = F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        return x * multiplier * math.sqrt(2 / weight[0].numel())

    w = z.double() / (z.double().square().mean(1, keepdim=True) + 1e-8).sqrt()
    for index in range(sum(name.startswith("mapping") for name in t) // 2):
        w = F.leaky_relu(layer(f"mapping.FC.{index}", w, 0.01), 0.2)
    maps = iter(noise)

    def end(x: Tensor, noise_name: str, style: str) -> Tensor:
        x = F.leaky_relu(x + t[f"{noise_name}.module.weight"] * next(maps).double(), leak)
        return _adain(x, layer(f"{style}.styleModulator", w), 1e-8)

    x = end(t["baseScale0"].expand(len(z), -1, -1, -1), "noiseMod00", "adain00")
    x = end(layer("conv0", x), "noiseMod01", "adain01")
    levels = sum(name.startswith("toRGBLayers") for name in t) // 2
    for level in range(levels):
        group = f"scaleLayers.{level}"
        x = F.interpolate(x, scale_factor=2)
        for place in (0, 1):
            x = end(layer(f"{group}.{2 * place}", x), f"noiseModulators.{level}.{place}", f"{group}.{2 * place + 1}")
    image = layer(f"toRGBLayers.{levels - 1}", x)
    return w, image.tanh() if config.get("lossCriterion") in ("DCGAN", "MSE") else image
