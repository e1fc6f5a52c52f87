"""The encoders of other methods, written plainly over the names in their published files: what they hold, and what the
networks give. From the papers and the layouts of the files; nothing of the plugin is used."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Names = Mapping[str, Tensor]
UNITS, DIM = (1, 2, 2, 1), 4


def _norm(name: str, channels: int) -> dict[str, Tensor]:
    def draw() -> Tensor:
        return 0.1 * torch.randn(channels)

    out = {f"{name}.weight": 1 + draw(), f"{name}.bias": draw(), f"{name}.running_mean": draw()}
    return {**out, f"{name}.running_var": 1 + draw().abs(), f"{name}.num_batches_tracked": torch.tensor(0)}


def _conv(name: str, outputs: int, inputs: int, side: int, *, bias: bool = False) -> dict[str, Tensor]:
    out = {f"{name}.weight": torch.randn(outputs, inputs, side, side) / math.sqrt(inputs * side * side)}
    return {**out, f"{name}.bias": 0.1 * torch.randn(outputs)} if bias else out


def _linear(name: str, outputs: int, inputs: int, *, scaled: bool = False) -> dict[str, Tensor]:
    weight = torch.randn(outputs, inputs) / (1 if scaled else math.sqrt(inputs))
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outputs)}


def _prefixed(prefix: str, tensors: Names) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def trunk(channels: int = 3, *, resnet: bool = False, widths: Sequence[int] = (16, 32, 48, 64)) -> dict[str, Tensor]:
    """IR-SE50's or ResNet-34's, with few units."""
    out: dict[str, Tensor] = {}
    if resnet:
        out |= _conv("conv1", widths[0], channels, 7) | _norm("bn1", widths[0]) | {"relu.weight": torch.rand(widths[0])}
    else:
        out |= _conv("input_layer.0", widths[0], channels, 3) | _norm("input_layer.1", widths[0])
        out["input_layer.2.weight"] = torch.rand(widths[0])
    inputs = widths[0]
    for place, width in enumerate(width for width, units in zip(widths, UNITS) for _ in range(units)):
        name = f"body.{place}"
        if resnet:
            out |= _conv(f"{name}.conv1", width, inputs, 3) | _norm(f"{name}.bn1", width)
            out |= _conv(f"{name}.conv2", width, width, 3) | _norm(f"{name}.bn2", width)
            if width != inputs:
                out |= _conv(f"{name}.downsample.0", width, inputs, 1) | _norm(f"{name}.downsample.1", width)
        else:
            out |= _norm(f"{name}.res_layer.0", inputs) | _conv(f"{name}.res_layer.1", width, inputs, 3)
            out[f"{name}.res_layer.2.weight"] = torch.rand(width)
            out |= _conv(f"{name}.res_layer.3", width, width, 3) | _norm(f"{name}.res_layer.4", width)
            out |= _conv(f"{name}.res_layer.5.fc1", width // 16, width, 1)
            out |= _conv(f"{name}.res_layer.5.fc2", width, width // 16, 1)
            if width != inputs:
                out |= _conv(f"{name}.shortcut_layer.0", width, inputs, 1) | _norm(f"{name}.shortcut_layer.1", width)
        inputs = width
    return out


def stacks(depths: Iterable[int], inputs: int = 64, dim: int = DIM) -> dict[str, Tensor]:
    """``styles.i``: convolutions and a linear layer each."""
    out: dict[str, Tensor] = {}
    for row, depth in enumerate(depths):
        for place in range(depth):
            out |= _conv(f"styles.{row}.convs.{2 * place}", dim, dim if place else inputs, 3, bias=True)
        out |= _linear(f"styles.{row}.linear", dim, dim, scaled=True)
    return out


def pyramid(depths: Sequence[int] = (1, 1, 1, 2, 2, 2, 2, 3), **options: Any) -> dict[str, Tensor]:
    """pSp's and e4e's encoder, which sees 32x32."""
    laterals = _conv("latlayer1", 64, 48, 1, bias=True) | _conv("latlayer2", 64, 32, 1, bias=True)
    return trunk(**options) | stacks(depths) | laterals


def backbone(rows: int = 8, *, resnet: bool = False) -> dict[str, Tensor]:
    """ReStyle's encoder, which sees 32x32."""
    return trunk(6, resnet=resnet) | stacks([1] * rows)


def pooled(channels: int = 3, rows: Sequence[int] = (4, 3, 1)) -> dict[str, Tensor]:
    """A stage of E2Style."""
    out = trunk(channels)
    for head, (count, width) in enumerate(zip(rows, (48, 32, 16)), 3):
        out |= _norm(f"output_layer_{head}.0", width) | _linear(f"output_layer_{head}.3", count * DIM, width * 49)
    return out


def last_layer(*, pooled: bool, rows: int = 8) -> dict[str, Tensor]:
    """pSp's comparisons: one w, or all styles, of the last features, which are as wide as the styles."""
    out = trunk() | _linear("linear", 64 * rows if pooled else 64, 64, scaled=True)
    return out | _norm("output_layer_2.0", 64) | _linear("output_layer_2.3", 64, 64 * 49) if pooled else out


def staged() -> dict[str, Tensor]:
    """E2Style's two stages."""
    return _prefixed("encoder_firststage.", pooled()) | _prefixed("encoder_refinestage_list.0.", pooled(6))


def published(encoder: Names, kind: str | None, *, decoder: Names | None = None, **opts: Any) -> dict[str, Any]:
    """The file of pSp and those that follow it, with a mean for each of as many styles as there are."""
    named = encoder if any(name.startswith("encoder_") for name in encoder) else _prefixed("encoder.", encoder)
    state = {**named, **_prefixed("decoder.", decoder or {})}
    rows = 8 if kind is None else sum(name.endswith("linear.weight") for name in encoder) or 8
    return {
        "state_dict": state,
        "opts": {**({} if kind is None else {"encoder_type": kind}), "start_from_latent_avg": True, **opts},
        "latent_avg": torch.randn(rows, DIM),
    }


def indomain(widths: Sequence[int] = (4, 6, 6), layers: int = 6) -> dict[str, Tensor]:
    """In-domain's encoder, which sees 16x16; its last block keeps the channels."""
    out = _conv("block0.conv", widths[0], 3, 3) | _norm("block0.bn.bn", widths[0])
    for block, (a, b) in enumerate(itertools.pairwise(widths), 1):
        inner = min(a, b)
        if a != b:
            out |= _conv(f"block{block}.conv", b, a, 1) | _norm(f"block{block}.bn.bn", b)
        out |= _conv(f"block{block}.conv1", inner, a, 3) | _norm(f"block{block}.bn1.bn", inner)
        out |= _conv(f"block{block}.conv2", b, inner, 3) | _norm(f"block{block}.bn2.bn", b)
        out[f"block{block}.wscale1.bias"], out[f"block{block}.wscale2.bias"] = torch.randn(inner), torch.randn(b)
    last = f"block{len(widths)}"
    out[f"{last}.fc.weight"] = torch.randn(layers * DIM, widths[-1] * 16)
    return out | _norm(f"{last}.bn.bn", layers * DIM)


def alae(widths: Sequence[int] = (3, 4, 5, 5)) -> dict[str, Tensor]:
    """ALAE's encoder, which sees 16x16."""
    out: dict[str, Tensor] = {}
    for block, (a, b) in enumerate(itertools.pairwise(widths)):
        name = f"encode_block.{block}"
        out |= _conv(f"from_rgb.{block}.from_rgb", a, 3, 1, bias=True)
        out |= {f"{name}.bias_1": torch.randn(1, a, 1, 1), f"{name}.bias_2": torch.randn(1, b, 1, 1)}
        out |= _conv(f"{name}.conv_1", a, a, 3) | _conv(f"{name}.conv_2", b, a, 3)
        out[f"{name}.blur.weight"] = torch.ones(a, 1, 3, 3) / 9
        out |= _linear(f"{name}.style_1", DIM, 2 * a) | _linear(f"{name}.style_2", DIM, 2 * b)
    return out


def d2e(widths: Sequence[int] = (3, 4, 5), dim: int = 7) -> dict[str, Tensor]:
    """A discriminator with spectral norm whose last layer gives z; it sees 16x16."""
    out: dict[str, Tensor] = {}
    for place, (a, b) in enumerate(itertools.pairwise(widths)):
        out[f"net.{2 * place}.weight_orig"] = torch.randn(b, a, 4, 4)
        out[f"net.{2 * place}.weight_u"], out[f"net.{2 * place}.weight_v"] = torch.rand(b), torch.rand(a * 16)
    return out | _conv(f"net.{2 * len(widths) - 2}", dim, widths[-1], 4, bias=True)


# What the networks give.


def _normed(x: Tensor, names: Names, name: str) -> Tensor:
    weights = [names[f"{name}.{which}"] for which in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *weights, training=False)


def features(names: Names, x: Tensor) -> list[Tensor]:
    """The maps after each group of units."""
    resnet = "conv1.weight" in names
    first = ("conv1", "bn1", "relu") if resnet else ("input_layer.0", "input_layer.1", "input_layer.2")
    x = F.conv2d(x, names[f"{first[0]}.weight"], stride=2 if resnet else 1, padding=3 if resnet else 1)
    x = F.prelu(_normed(x, names, first[1]), names[f"{first[2]}.weight"])
    out, place = [], 0
    for group, units in enumerate(UNITS):
        for unit in range(units):
            stride = 2 if unit == 0 and (group or not resnet) else 1
            x = (_basic if resnet else _bottleneck)(names, f"body.{place}", x, stride)
            place += 1
        out.append(x)
    return out


def _bottleneck(names: Names, name: str, x: Tensor, stride: int) -> Tensor:
    bypass = F.max_pool2d(x, 1, stride)
    if f"{name}.shortcut_layer.0.weight" in names:
        bypass = F.conv2d(x, names[f"{name}.shortcut_layer.0.weight"], stride=stride)
        bypass = _normed(bypass, names, f"{name}.shortcut_layer.1")
    y = F.conv2d(_normed(x, names, f"{name}.res_layer.0"), names[f"{name}.res_layer.1.weight"], padding=1)
    y = F.conv2d(F.prelu(y, names[f"{name}.res_layer.2.weight"]), names[f"{name}.res_layer.3.weight"], None, stride, 1)
    y = _normed(y, names, f"{name}.res_layer.4")
    squeezed = F.conv2d(F.adaptive_avg_pool2d(y, 1), names[f"{name}.res_layer.5.fc1.weight"]).relu()
    return y * F.conv2d(squeezed, names[f"{name}.res_layer.5.fc2.weight"]).sigmoid() + bypass


def _basic(names: Names, name: str, x: Tensor, stride: int) -> Tensor:
    bypass = x
    if f"{name}.downsample.0.weight" in names:
        bypass = F.conv2d(x, names[f"{name}.downsample.0.weight"], stride=stride)
        bypass = _normed(bypass, names, f"{name}.downsample.1")
    y = F.conv2d(x, names[f"{name}.conv1.weight"], None, stride, 1)
    y = F.conv2d(_normed(y, names, f"{name}.bn1").relu(), names[f"{name}.conv2.weight"], padding=1)
    return (_normed(y, names, f"{name}.bn2") + bypass).relu()


def _style(names: Names, row: int, x: Tensor) -> Tensor:
    for name in sorted(one for one in names if re.fullmatch(rf"styles\.{row}\.convs\.\d+\.weight", one)):
        x = F.leaky_relu(F.conv2d(x, names[name], names[name.replace("weight", "bias")], 2, 1), 0.01)
    weight = names[f"styles.{row}.linear.weight"]
    return F.linear(x.flatten(1), weight / math.sqrt(weight.shape[1]), names[f"styles.{row}.linear.bias"])


def styles(names: Names, x: Tensor, *, offsets: bool = False) -> Tensor:
    """What pSp, e4e and ReStyle give, before the mean is added: (N, rows, dim)."""
    maps = features(names, x)
    levels = [maps[3]]
    for name, finer in (("latlayer1", maps[2]), ("latlayer2", maps[1])):
        if f"{name}.weight" in names:
            above = F.interpolate(levels[-1], finer.shape[2:], mode="bilinear", align_corners=True)
            levels.append(above + F.conv2d(finer, names[f"{name}.weight"], names[f"{name}.bias"]))
    rows = sum(name.endswith("linear.weight") for name in names)
    depths = [sum(name.startswith(f"styles.{row}.convs.") for name in names) // 2 for row in range(rows)]
    found = torch.stack([_style(names, row, levels[depths[row] - depths[0]]) for row in range(rows)], 1)
    return torch.cat([found[:, :1], found[:, :1] + found[:, 1:]], 1) if offsets else found


def last_codes(names: Names, x: Tensor) -> Tensor:
    """What pSp's comparisons give: (N, rows, 64)."""
    x = features(names, x)[3]
    if "output_layer_2.3.weight" in names:
        x = F.adaptive_avg_pool2d(_normed(x, names, "output_layer_2.0"), 7).flatten(1)
        x = F.linear(x, names["output_layer_2.3.weight"], names["output_layer_2.3.bias"])
    x = x if x.ndim == 2 else x.mean((2, 3))
    return F.linear(x, names["linear.weight"] / 8, names["linear.bias"]).unflatten(1, (-1, 64))


def heads(names: Names, x: Tensor) -> Tensor:
    """What a stage of E2Style gives: (N, rows, dim)."""
    found = []
    for head, maps in zip((5, 4, 3), features(names, x)):
        name = f"output_layer_{head}"
        pooled = F.adaptive_avg_pool2d(_normed(maps, names, f"{name}.0"), 7).flatten(1)
        found.append(F.linear(pooled, names[f"{name}.3.weight"], names[f"{name}.3.bias"]))
    return torch.cat(found[::-1], 1).unflatten(1, (-1, DIM))


def indomain_codes(names: Names, x: Tensor) -> Tensor:
    """What In-domain's encoder gives: (N, layers, dim)."""
    x = F.leaky_relu(_normed(F.conv2d(x, names["block0.conv.weight"], padding=1), names, "block0.bn.bn"), 0.2)
    block = 1
    while f"block{block}.conv1.weight" in names:
        name, x = f"block{block}", F.avg_pool2d(x, 2)
        bypass, y = x, x
        if f"{name}.conv.weight" in names:
            bypass = F.leaky_relu(_normed(F.conv2d(x, names[f"{name}.conv.weight"]), names, f"{name}.bn.bn"), 0.2)
        for which in (1, 2):
            y = F.conv2d(y, names[f"{name}.conv{which}.weight"], names[f"{name}.wscale{which}.bias"], padding=1)
            y = F.leaky_relu(_normed(y, names, f"{name}.bn{which}.bn"), 0.2)
        x, block = y + bypass, block + 1
    weight = names[f"block{block}.fc.weight"]
    out = F.linear(x.flatten(1), weight / math.sqrt(weight.shape[1]))
    return _normed(out, names, f"block{block}.bn.bn").unflatten(1, (-1, DIM))


def alae_codes(names: Names, x: Tensor) -> Tensor:
    """What ALAE's encoder gives: (N, dim)."""
    x = F.conv2d(x, names["from_rgb.0.from_rgb.weight"], names["from_rgb.0.from_rgb.bias"])
    x = F.leaky_relu(F.leaky_relu(x, 0.2), 0.2)
    total, block = torch.zeros(()), 0
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    while f"encode_block.{block}.conv_1.weight" in names:
        name = f"encode_block.{block}"
        for which in (1, 2):
            if which == 2:
                x = F.conv2d(x, torch.outer(row, row).repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1])
            x = F.conv2d(x, names[f"{name}.conv_{which}.weight"], padding=1)
            x = F.avg_pool2d(x, 2) if which == 2 else x
            x = F.leaky_relu(x + names[f"{name}.bias_{which}"], 0.2)
            statistics = torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], 1)
            head = f"{name}.style_{which}"
            total = total + F.linear(statistics, names[f"{head}.weight"], names[f"{head}.bias"])
            x = F.instance_norm(x)
        block += 1
    return total


def d2e_codes(names: Names, x: Tensor) -> Tensor:
    """What an encoder made of a discriminator gives: (N, dim)."""
    place = 0
    while f"net.{place}.weight_orig" in names:
        weight = names[f"net.{place}.weight_orig"]
        norm = names[f"net.{place}.weight_u"] @ weight.flatten(1) @ names[f"net.{place}.weight_v"]
        x, place = F.leaky_relu(F.conv2d(x, weight / norm, None, 2, 1), 0.2), place + 2
    return F.conv2d(x, names[f"net.{place}.weight"], names[f"net.{place}.bias"]).flatten(1)
