"""An independent StyleGAN2 in float64, as plain as can be, and its weights in every published format.

Weights are drawn under the names of NVIDIA's PyTorch networks. The network upsamples by inserting zeros and scales
weights sample by sample, where ours fuses and shares: nothing here is imported from the code under test.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PAD = 16


@dataclass(frozen=True)
class Net:
    """The architecture of one network."""

    widths: tuple[int, ...] = (10, 8, 6)
    base: tuple[int, int] = (4, 4)
    z_dim: int = 7
    w_dim: int = 9
    hidden: int = 11
    layers: int = 3
    classes: int = 0
    label_dim: int = 5
    joint: bool = False
    architecture: str = "skip"
    taps: tuple[float, ...] = (1, 3, 3, 1)
    clamp: float | None = None
    lr: float = 0.01
    channels: int = 3
    noise: bool = True

    @property
    def resolution(self) -> int:
        """What files declare: the side of the images, had they started from 4x4."""
        return 4 << (len(self.widths) - 1)


def conv_name(index: int) -> str:
    """The name of convolution ``index``."""
    return f"synthesis.b{4 << ((index + 1) // 2)}.conv{1 if index % 2 == 0 else 0}"


def weights(net: Net, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the names of NVIDIA's PyTorch networks, in float32."""
    rng = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}

    def draw(name: str, *shape: int, scale: float = 1.0, offset: float = 0.0) -> None:
        out[name] = torch.randn(shape, generator=rng) * scale + offset

    label_dim = net.label_dim if net.classes else 0
    if net.classes:
        draw("mapping.embed.weight", net.label_dim, net.classes)
        draw("mapping.embed.bias", net.label_dim, scale=0.0 if net.joint else 1.0)
    sizes = [net.z_dim + label_dim, *[net.hidden] * (net.layers - 1), net.w_dim]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        draw(f"mapping.fc{i}.weight", b, a, scale=1 / net.lr)
        draw(f"mapping.fc{i}.bias", b, scale=0.1 / net.lr)
    draw("mapping.w_avg", net.w_dim)
    draw("synthesis.b4.const", net.widths[0], *net.base)
    kernel = torch.outer(torch.tensor(net.taps), torch.tensor(net.taps)).float()
    for index in range(2 * len(net.widths) - 1):
        level = (index + 1) // 2
        inputs = net.widths[level - 1] if index % 2 else net.widths[level]
        name = conv_name(index)
        draw(f"{name}.weight", net.widths[level], inputs, 3, 3)
        draw(f"{name}.bias", net.widths[level], scale=0.2)
        draw(f"{name}.affine.weight", inputs, net.w_dim)
        draw(f"{name}.affine.bias", inputs, scale=0.2, offset=1.0)
        if net.noise:
            draw(f"{name}.noise_const", net.base[0] << level, net.base[1] << level)
            draw(f"{name}.noise_strength", scale=0.3)
        out[f"{name}.resample_filter"] = kernel / kernel.sum()
    for level, width in enumerate(net.widths):
        block = f"synthesis.b{4 << level}"
        out[f"{block}.resample_filter"] = kernel / kernel.sum()
        if net.architecture == "skip" or level == len(net.widths) - 1:
            draw(f"{block}.torgb.weight", net.channels, width, 1, 1)
            draw(f"{block}.torgb.bias", net.channels)
            draw(f"{block}.torgb.affine.weight", width, net.w_dim)
            draw(f"{block}.torgb.affine.bias", width, scale=0.2, offset=1.0)
        if net.architecture == "resnet" and level:
            draw(f"{block}.skip.weight", width, net.widths[level - 1], 1, 1)
    return out


def metadata(net: Net) -> dict[str, Any]:
    """What NVIDIA's PyTorch networks say of themselves beside their tensors."""
    layer = {"activation": "lrelu", "conv_clamp": net.clamp}
    synthesis = {f"b{4 << i}": {"conv0": layer, "conv1": layer, "torgb": layer} for i in range(len(net.widths))}
    fcs = {f"fc{i}": {"activation": "lrelu", "bias_gain": net.lr} for i in range(net.layers)}
    mapping = {"num_layers": net.layers, **fcs}
    own = {"img_resolution": net.resolution, "c_dim": net.classes}
    return {"class_name": "Generator", **own, "synthesis": synthesis, "mapping": mapping}


def _normalise(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def _zeros_between(x: Tensor) -> Tensor:
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2] + 2 * PAD, 2 * x.shape[3] + 2 * PAD)
    out[:, :, PAD:-PAD:2, PAD:-PAD:2] = x
    return out


def _filter(x: Tensor, taps: tuple[float, ...]) -> Tensor:
    row = torch.tensor(taps, dtype=torch.float64).flip(0)
    kernel = torch.outer(row, row) / row.sum() ** 2 * 4
    return F.conv2d(x.flatten(0, 1)[:, None], kernel[None, None]).unflatten(0, x.shape[:2])[:, :, 0]


def _crop(x: Tensor, start: int, size: tuple[int, int]) -> Tensor:
    return x[:, :, start : start + 2 * size[0], start : start + 2 * size[1]]


def _upsample(x: Tensor, taps: tuple[float, ...]) -> Tensor:
    return _crop(_filter(_zeros_between(x), taps), PAD - (len(taps) + 1) // 2, (x.shape[2], x.shape[3]))


def _modulated(x: Tensor, weight: Tensor, styles: Tensor, taps: tuple[float, ...] | None) -> Tensor:
    out = []
    for one, style in zip(x, styles):
        w = weight * style[None, :, None, None] / math.sqrt(weight[0].numel())
        w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8 / weight[0].numel()).sqrt()
        if taps is None:
            out.append(F.conv2d(one[None], w, padding=1))
        else:
            wide = _filter(F.conv2d(_zeros_between(one[None]), w.flip(2, 3)), taps)
            out.append(_crop(wide, PAD - 2 - ((len(taps) + 1) // 2 - 1), (one.shape[1], one.shape[2])))
    return torch.cat(out)


def mapping(net: Net, tensors: dict[str, Tensor], z: Tensor, labels: Tensor | None) -> Tensor:
    """z (N, z_dim), rows (N, classes) => w (N, w_dim), float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    x = z.double()
    if labels is None:
        x = _normalise(x)
    else:
        y = labels.double() @ t["mapping.embed.weight"].t() / math.sqrt(net.classes) + t["mapping.embed.bias"]
        x = _normalise(torch.cat([x, y], 1)) if net.joint else torch.cat([_normalise(x), _normalise(y)], 1)
    for i in range(net.layers):
        weight, bias = t[f"mapping.fc{i}.weight"], t[f"mapping.fc{i}.bias"]
        x = _lrelu(x @ weight.t() * net.lr / math.sqrt(weight.shape[1]) + bias * net.lr)
    return x


def synthesis(net: Net, tensors: dict[str, Tensor], w: Tensor) -> Tensor:
    """w (N, layers, w_dim) => images (N, C, H, W), float64, with the stored noise."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    w = w.double()

    def style(name: str, at: int) -> Tensor:
        return w[:, at] @ t[f"{name}.affine.weight"].t() / math.sqrt(net.w_dim) + t[f"{name}.affine.bias"]

    def clamped(y: Tensor, gain: float = 1.0) -> Tensor:
        return y if net.clamp is None else y.clamp(-net.clamp * gain, net.clamp * gain)

    def conv(x: Tensor, index: int, gain: float = 1.0) -> Tensor:
        name = conv_name(index)
        y = _modulated(x, t[f"{name}.weight"], style(name, index), net.taps if index % 2 else None)
        if net.noise:
            y = y + t[f"{name}.noise_const"] * t[f"{name}.noise_strength"]
        return clamped(_lrelu(y + t[f"{name}.bias"][:, None, None]) * gain, gain)

    def image(x: Tensor, level: int) -> Tensor:
        name = f"synthesis.b{4 << level}.torgb"
        weight, bias = t[f"{name}.weight"][:, :, 0, 0], t[f"{name}.bias"]
        scaled = x * style(name, 2 * level + 1)[:, :, None, None] / math.sqrt(x.shape[1])
        return clamped(torch.einsum("oi,nihw->nohw", weight, scaled) + bias[:, None, None])

    x = conv(t["synthesis.b4.const"].expand(len(w), -1, -1, -1), 0)
    out = image(x, 0) if net.architecture == "skip" or len(net.widths) == 1 else None
    for level in range(1, len(net.widths)):
        if net.architecture == "resnet":
            weight = t[f"synthesis.b{4 << level}.skip.weight"][:, :, 0, 0]
            bypass = torch.einsum("oi,nihw->nohw", weight, _upsample(x, net.taps)) / math.sqrt(x.shape[1])
            y = conv(x, 2 * level - 1)
            x = bypass * math.sqrt(0.5) + conv(y, 2 * level, math.sqrt(0.5))
        else:
            x = conv(conv(x, 2 * level - 1), 2 * level)
        if net.architecture == "skip" and out is not None:
            out = _upsample(out, net.taps) + image(x, level)
    return image(x, len(net.widths) - 1) if out is None else out


def as_tensorflow(net: Net, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by the names and in the order of axes of NVIDIA's TensorFlow networks."""
    out = {"dlatent_avg": tensors["mapping.w_avg"], "synthesis/4x4/Const/const": tensors["synthesis.b4.const"][None]}
    for i in range(net.layers):
        out[f"mapping/Dense{i}/weight"] = tensors[f"mapping.fc{i}.weight"].t()
        out[f"mapping/Dense{i}/bias"] = tensors[f"mapping.fc{i}.bias"]
    if net.classes and net.joint:
        out["mapping/LabelConcat/weight"] = tensors["mapping.embed.weight"].t() / math.sqrt(net.classes)
    elif net.classes:
        out["mapping/LabelEmbed/weight"] = tensors["mapping.embed.weight"].t()
        out["mapping/LabelEmbed/bias"] = tensors["mapping.embed.bias"]
    for name, tensor in tensors.items():
        if not name.startswith("synthesis.b") or name.count(".") < 3:
            continue
        _, block, layer, leaf = name.split(".", 3)
        side = int(block[1:])
        kind = {"conv0": "Conv0_up", "conv1": "Conv" if side == 4 else "Conv1", "torgb": "ToRGB", "skip": "Skip"}[layer]
        index = 2 * int(math.log2(side)) - (5 if layer == "conv0" else 4)
        at = f"synthesis/{side}x{side}/{kind}"
        if leaf == "weight":
            flipped = tensor.flip(2, 3) if layer in ("conv0", "skip") else tensor
            out[f"{at}/weight"] = flipped.permute(2, 3, 1, 0)
        elif leaf == "noise_const":
            out[f"synthesis/noise{index}"] = tensor[None, None]
        elif leaf in ("bias", "noise_strength"):
            out[f"{at}/{leaf}"] = tensor
        elif leaf == "affine.weight":
            out[f"{at}/mod_weight"] = tensor.t()
        elif leaf == "affine.bias":
            out[f"{at}/mod_bias"] = tensor - 1
    return out


def as_rosinality(net: Net, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by rosinality's names; without the mean style, which lies beside the network."""
    out = {"input.input": tensors["synthesis.b4.const"][None]}
    for i in range(net.layers):
        for leaf in ("weight", "bias"):
            out[f"style.{i + 1}.{leaf}"] = tensors[f"mapping.fc{i}.{leaf}"]
    kernel = tensors["synthesis.b4.resample_filter"] * 4
    for index in range(2 * len(net.widths) - 1):
        name, at = conv_name(index), f"convs.{index - 1}" if index else "conv1"
        out[f"{at}.conv.weight"] = tensors[f"{name}.weight"][None]
        out[f"{at}.conv.modulation.weight"] = tensors[f"{name}.affine.weight"]
        out[f"{at}.conv.modulation.bias"] = tensors[f"{name}.affine.bias"]
        out[f"{at}.activate.bias"] = tensors[f"{name}.bias"]
        out[f"{at}.noise.weight"] = tensors[f"{name}.noise_strength"].reshape(1)
        out[f"noises.noise_{index}"] = tensors[f"{name}.noise_const"][None, None]
        if index % 2:
            out[f"{at}.conv.blur.kernel"] = kernel
    for level in range(len(net.widths)):
        name, at = f"synthesis.b{4 << level}.torgb", f"to_rgbs.{level - 1}" if level else "to_rgb1"
        out[f"{at}.conv.weight"] = tensors[f"{name}.weight"][None]
        out[f"{at}.conv.modulation.weight"] = tensors[f"{name}.affine.weight"]
        out[f"{at}.conv.modulation.bias"] = tensors[f"{name}.affine.bias"]
        out[f"{at}.bias"] = tensors[f"{name}.bias"][None, :, None, None]
    return out


def as_mmgeneration(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """rosinality's names => mmgeneration's."""
    out = {}
    for name, tensor in tensors.items():
        leaf = name.rpartition(".")[2]
        new = name.replace("input.input", "constant_input.input").replace("noises.noise_", "injected_noise_")
        new = new.replace(".noise.weight", ".noise_injector.weight").replace(
            ".modulation.bias", ".style_modulation.bias"
        )
        if name.endswith("modulation.weight"):
            new = name.replace("modulation.weight", "style_modulation.linear.weight_orig")
        elif name.startswith("style."):
            new = new.replace("style.", "style_mapping.").replace(".weight", ".linear.weight_orig")
        elif leaf == "weight" and tensor.ndim == 5:
            new = f"{name}_orig"
        out[new] = tensor
    return out


def as_genforce(net: Net, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by genforce's names."""
    out = {"truncation.w_avg": tensors["mapping.w_avg"]}
    out["synthesis.early_layer.const"] = tensors["synthesis.b4.const"][None]
    if net.classes and net.joint:
        out["mapping.label_weight"] = tensors["mapping.embed.weight"].t() / math.sqrt(net.classes)
    elif net.classes:
        out |= {f"mapping.LabelEmbed.{leaf}": tensors[f"mapping.embed.{leaf}"] for leaf in ("weight", "bias")}
    for i in range(net.layers):
        for leaf in ("weight", "bias"):
            out[f"mapping.dense{i}.{leaf}"] = tensors[f"mapping.fc{i}.{leaf}"]
    for index in range(2 * len(net.widths) - 1):
        name, at = conv_name(index), f"synthesis.layer{index}"
        weight = tensors[f"{name}.weight"]
        out[f"{at}.weight"] = weight.flip(2, 3) if index % 2 else weight
        out[f"{at}.bias"] = tensors[f"{name}.bias"]
        out[f"{at}.style.weight"] = tensors[f"{name}.affine.weight"]
        out[f"{at}.style.bias"] = tensors[f"{name}.affine.bias"] - 1
        out[f"{at}.noise_strength"] = tensors[f"{name}.noise_strength"]
        out[f"{at}.noise"] = tensors[f"{name}.noise_const"][None, None]
    for level in range(len(net.widths)):
        name, at = f"synthesis.b{4 << level}.torgb", f"synthesis.output{level}"
        if f"{name}.weight" in tensors:
            out[f"{at}.weight"], out[f"{at}.bias"] = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            out[f"{at}.style.weight"] = tensors[f"{name}.affine.weight"]
            out[f"{at}.style.bias"] = tensors[f"{name}.affine.bias"] - 1
    return out
