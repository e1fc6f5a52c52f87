"""An independent StyleGAN1 in float64, as plain as can be, and its weights in every published format.

Weights are drawn under the names of NVIDIA's TensorFlow networks, and the network is their published code, term by
term: kernels are applied tap by tap, and layers that enlarge within a transposed convolution do so with the kernel as
it is stored. Nothing here is imported from the code under test.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Net:
    """The architecture of one network."""

    widths: tuple[int, ...] = (10, 8, 6)
    z_dim: int = 7
    w_dim: int = 9
    hidden: int = 11
    layers: int = 3
    classes: int = 0
    taps: tuple[float, ...] = (1, 2, 1)
    fused: bool | str = "auto"
    lr: float = 0.01
    channels: int = 3
    noise: bool = True

    @property
    def resolution(self) -> int:
        """The side of the images."""
        return 4 << (len(self.widths) - 1)

    def fuses(self, side: int) -> bool:
        """Whether the layer that enlarges to ``side`` does so within a transposed convolution."""
        return side >= 128 if self.fused == "auto" else bool(self.fused)


def layer_name(index: int) -> str:
    """The name of layer ``index``."""
    side = 4 << (index // 2)
    names = ("Const", "Conv") if index < 2 else ("Conv0_up", "Conv1")
    return f"synthesis/{side}x{side}/{names[index % 2]}"


def weights(net: Net, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the names of NVIDIA's TensorFlow networks, in float32."""
    rng = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}

    def draw(name: str, *shape: int, scale: float = 1.0) -> None:
        out[name] = torch.randn(shape, generator=rng) * scale

    out["lod"], out["synthesis/lod"] = torch.zeros(()), torch.zeros(1)
    draw("dlatent_avg", net.w_dim)
    if net.classes:
        draw("mapping/LabelConcat/weight", net.classes, net.z_dim)
    inputs = net.z_dim * (2 if net.classes else 1)
    for i in range(net.layers):
        outputs = net.w_dim if i == net.layers - 1 else net.hidden
        draw(f"mapping/Dense{i}/weight", inputs, outputs, scale=1 / net.lr)
        draw(f"mapping/Dense{i}/bias", outputs, scale=0.1 / net.lr)
        inputs = outputs
    draw("synthesis/4x4/Const/const", 1, net.widths[0], 4, 4)
    for index in range(2 * len(net.widths)):
        level, name = index // 2, layer_name(index)
        inputs = net.widths[level if index % 2 or not level else level - 1]
        if index:
            draw(f"{name}/weight", 3, 3, inputs, net.widths[level])
        draw(f"{name}/bias", net.widths[level], scale=0.2)
        draw(f"{name}/StyleMod/weight", net.w_dim, 2 * net.widths[level])
        draw(f"{name}/StyleMod/bias", 2 * net.widths[level], scale=0.2)
        if net.noise:
            draw(f"{name}/Noise/weight", net.widths[level], scale=0.3)
            draw(f"synthesis/noise{index}", 1, 1, 4 << level, 4 << level)
    for level, width in enumerate(net.widths):
        lod = len(net.widths) - 1 - level
        draw(f"synthesis/ToRGB_lod{lod}/weight", 1, 1, width, net.channels)
        draw(f"synthesis/ToRGB_lod{lod}/bias", net.channels)
    return out


def declared(net: Net) -> dict[str, Any]:
    """What NVIDIA's TensorFlow networks say of themselves."""
    own = {
        "resolution": net.resolution,
        "label_size": net.classes,
        "mapping_layers": net.layers,
        "mapping_lrmul": net.lr,
    }
    return {
        "static_kwargs": own,
        "synthesis": {"static_kwargs": {"fused_scale": net.fused, "blur_filter": list(net.taps)}},
    }


def _lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def _normalise(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _instance_norm(x: Tensor) -> Tensor:
    x = x - x.mean((2, 3), keepdim=True)
    return x / (x.square().mean((2, 3), keepdim=True) + 1e-8).sqrt()


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """(N, in, H, W), (k, k, in, out) => (N, out, H, W), tap by tap, zeros outside."""
    half, (height, width) = weight.shape[0] // 2, x.shape[2:]
    wide = torch.nn.functional.pad(x, (half, half, half, half))
    taps = [(i, j) for i in range(weight.shape[0]) for j in range(weight.shape[1])]
    views = [torch.einsum("nihw,io->nohw", wide[:, :, i : i + height, j : j + width], weight[i, j]) for i, j in taps]
    return torch.stack(views).sum(0)


def _enlarge(x: Tensor, weight: Tensor, fused: bool) -> Tensor:
    """Twice the size, then the convolution; fused: every pixel paints the four summed copies of the kernel."""
    if not fused:
        return _convolve(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight)
    four = weight.new_zeros(4, 4, *weight.shape[2:])
    for i in (0, 1):
        for j in (0, 1):
            four[i : i + 3, j : j + 3] += weight
    height, width = x.shape[2:]
    out = x.new_zeros(len(x), weight.shape[3], 2 * height + 2, 2 * width + 2)
    for i in range(4):
        for j in range(4):
            painted = torch.einsum("nihw,io->nohw", x, four[i, j])
            out[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] += painted
    return out[:, :, 1:-1, 1:-1]


def _blur(x: Tensor, taps: tuple[float, ...]) -> Tensor:
    row = torch.tensor(taps, dtype=torch.float64)
    kernel = torch.outer(row, row) / row.sum() ** 2
    one = _convolve(x.flatten(0, 1)[:, None], kernel[:, :, None, None])
    return one[:, 0].unflatten(0, x.shape[:2])


def mapping(net: Net, tensors: dict[str, Tensor], z: Tensor, labels: Tensor | None) -> Tensor:
    """z (N, z_dim), rows (N, classes) => w (N, w_dim), float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    x = z.double()
    if labels is not None:
        x = torch.cat([x, labels.double() @ t["mapping/LabelConcat/weight"]], 1)
    x = _normalise(x)
    for i in range(net.layers):
        weight = t[f"mapping/Dense{i}/weight"]
        scaled = weight * (math.sqrt(2 / len(weight)) * net.lr)
        x = _lrelu(x @ scaled + t[f"mapping/Dense{i}/bias"] * net.lr)
    return x


def synthesis(net: Net, tensors: dict[str, Tensor], w: Tensor) -> Tensor:
    """w (N, layers, w_dim) => images (N, C, H, W), float64, with the stored noise."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    w = w.double()
    x = t["synthesis/4x4/Const/const"].expand(len(w), -1, -1, -1)
    for index in range(2 * len(net.widths)):
        name = layer_name(index)
        if index:
            weight = t[f"{name}/weight"]
            weight = weight * math.sqrt(2 / weight[..., 0].numel())
            if index % 2 == 0:
                x = _blur(_enlarge(x, weight, net.fuses(4 << (index // 2))), net.taps)
            else:
                x = _convolve(x, weight)
        if net.noise:
            x = x + t[f"synthesis/noise{index}"] * t[f"{name}/Noise/weight"][:, None, None]
        x = _instance_norm(_lrelu(x + t[f"{name}/bias"][:, None, None]))
        style = w[:, index] @ t[f"{name}/StyleMod/weight"] / math.sqrt(net.w_dim) + t[f"{name}/StyleMod/bias"]
        scale, shift = style[:, :, None, None].unflatten(1, (2, -1)).unbind(1)
        x = x * (scale + 1) + shift
    weight = t["synthesis/ToRGB_lod0/weight"]
    return _convolve(x, weight / math.sqrt(weight.shape[2])) + t["synthesis/ToRGB_lod0/bias"][:, None, None]


def _torch_order(tensor: Tensor) -> Tensor:
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.t() if tensor.ndim == 2 else tensor


def _layers(tensors: dict[str, Tensor]) -> list[tuple[int, str, Tensor]]:
    """Every leaf of every layer: its number, the leaf's name, the tensor."""
    found = []
    for name, tensor in tensors.items():
        match = re.fullmatch(r"synthesis/(\d+)x\d+/(Const|Conv|Conv0_up|Conv1)/(.*)", name)
        if match:
            index = 2 * int(math.log2(int(match[1]))) - 4 + (match[2] in ("Conv", "Conv1"))
            found.append((index, match[3], tensor))
    return found


def as_genforce(net: Net, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by genforce's names."""
    out = {"truncation.w_avg": tensors["dlatent_avg"], "synthesis.lod": torch.zeros(())}
    if net.classes:
        out["mapping.label_weight"] = tensors["mapping/LabelConcat/weight"]
    for i in range(net.layers):
        for leaf in ("weight", "bias"):
            out[f"mapping.dense{i}.{leaf}"] = _torch_order(tensors[f"mapping/Dense{i}/{leaf}"])
    leaves = {"StyleMod/weight": "style.weight", "StyleMod/bias": "style.bias", "Noise/weight": "apply_noise.weight"}
    for index, leaf, tensor in _layers(tensors):
        if leaf == "const":
            out["synthesis.layer0.const"] = tensor
        else:
            out[f"synthesis.layer{index}.{leaves.get(leaf, leaf)}"] = _torch_order(tensor)
    row = torch.tensor(net.taps) / sum(net.taps)
    for index in range(2 * len(net.widths)):
        out[f"synthesis.layer{index}.apply_noise.noise"] = tensors[f"synthesis/noise{index}"]
        if index and index % 2 == 0:
            width = net.widths[index // 2]
            out[f"synthesis.layer{index}.blur.kernel"] = torch.outer(row, row).expand(width, 1, -1, -1)
    for level in range(len(net.widths)):
        for leaf in ("weight", "bias"):
            lod = len(net.widths) - 1 - level
            out[f"synthesis.output{level}.{leaf}"] = _torch_order(tensors[f"synthesis/ToRGB_lod{lod}/{leaf}"])
    return out


def as_gs_gm(net: Net, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same weights as the synthesis and the mapping network of podgorskiy's format, but for the stored noise."""
    gs, gm = {"const": tensors["synthesis/4x4/Const/const"]}, {}
    for i in range(net.layers):
        weight = tensors[f"mapping/Dense{i}/weight"]
        gm[f"block_{i + 1}.fc.weight"] = weight.t() * (math.sqrt(2 / len(weight)) * net.lr)
        gm[f"block_{i + 1}.fc.bias"] = tensors[f"mapping/Dense{i}/bias"] * net.lr
    for index, leaf, tensor in _layers(tensors):
        block, number = f"decode_block.{index // 2}", index % 2 + 1
        if leaf == "weight":
            scaled = tensor * math.sqrt(2 / tensor[..., 0].numel())
            fused = number == 1 and net.fuses(4 << (index // 2))
            gs[f"{block}.conv_{number}.weight"] = scaled.permute(2, 3, 0, 1) if fused else scaled.permute(3, 2, 0, 1)
        elif leaf == "StyleMod/weight":
            gs[f"{block}.style_{number}.weight"] = tensor.t() / math.sqrt(net.w_dim)
        elif leaf == "StyleMod/bias":
            gs[f"{block}.style_{number}.bias"] = tensor
        elif leaf in ("bias", "Noise/weight"):
            name = "bias" if leaf == "bias" else "noise_weight"
            gs[f"{block}.{name}_{number}"] = tensor[None, :, None, None]
    row = torch.tensor(net.taps) / sum(net.taps)
    for level, width in enumerate(net.widths):
        lod = len(net.widths) - 1 - level
        weight = tensors[f"synthesis/ToRGB_lod{lod}/weight"]
        gs[f"to_rgb.{level}.to_rgb.weight"] = _torch_order(weight) / math.sqrt(width)
        gs[f"to_rgb.{level}.to_rgb.bias"] = tensors[f"synthesis/ToRGB_lod{lod}/bias"]
        gs[f"decode_block.{level}.blur.weight"] = torch.outer(row, row).expand(width, 1, -1, -1)
    return gs, gm
