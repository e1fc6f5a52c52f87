"""lucidrains' StyleGAN2 written down a second time, plainly, in its own names, with weights for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

DIM = 6


def weights(
    widths: Sequence[int] = (8, 6, 4),
    *,
    layers: int = 3,
    channels: int = 3,
    initial: bool = True,
    blur: bool = True,
    const: bool = True,
    attention: Sequence[int] = (),
) -> dict[str, Tensor]:
    """The states of S and G, and other ones of SE and GE."""
    rng = torch.Generator().manual_seed(8)
    shapes: dict[str, Sequence[int]] = {"G.initial_block": (1, widths[0], 4, 4)}
    if not const:
        shapes = {"G.to_initial_block.weight": (DIM, widths[0], 4, 4)}
    for index in attention:
        c, at = [widths[0], *widths][index], f"G.attns.{index}"
        shapes |= {f"{at}.{part}.fn.norm.{leaf}": (1, c, 1, 1) for part in (0, 1) for leaf in "gb"}
        shapes |= {f"{at}.0.fn.fn.to_q.weight": (512, c, 1, 1), f"{at}.0.fn.fn.to_kv.net.0.weight": (c, 1, 3, 3)}
        shapes |= {f"{at}.0.fn.fn.to_kv.net.1.weight": (1024, c, 1, 1), f"{at}.0.fn.fn.to_out.weight": (c, 512, 1, 1)}
        shapes |= {f"{at}.1.fn.fn.0.weight": (2 * c, c, 1, 1), f"{at}.1.fn.fn.2.weight": (c, 2 * c, 1, 1)}
        shapes |= {f"{at}.0.fn.fn.to_out.bias": (c,), f"{at}.1.fn.fn.0.bias": (2 * c,), f"{at}.1.fn.fn.2.bias": (c,)}
    if initial:
        shapes |= {"G.initial_conv.weight": (widths[0], widths[0], 3, 3), "G.initial_conv.bias": (widths[0],)}
    for index in range(layers):
        shapes |= {f"S.net.{2 * index}.weight": (DIM, DIM), f"S.net.{2 * index}.bias": (DIM,)}
    for index, (before, after) in enumerate(zip([widths[0], *widths], widths)):
        at = f"G.blocks.{index}"
        for number, inputs in ((1, before), (2, after)):
            shapes |= {f"{at}.to_style{number}.weight": (inputs, DIM), f"{at}.to_style{number}.bias": (inputs,)}
            shapes |= {f"{at}.to_noise{number}.weight": (after, 1), f"{at}.to_noise{number}.bias": (after,)}
            shapes[f"{at}.conv{number}.weight"] = (after, inputs, 3, 3)
        shapes |= {f"{at}.to_rgb.to_style.weight": (after, DIM), f"{at}.to_rgb.to_style.bias": (after,)}
        shapes[f"{at}.to_rgb.conv.weight"] = (channels, after, 1, 1)
        if blur and index < len(widths) - 1:
            shapes[f"{at}.to_rgb.upsample.1.f"] = (3,)
    out = {}
    for kind in ("", "E"):
        for name, shape in shapes.items():
            drawn = torch.randn(tuple(shape), generator=rng)
            out[name.replace(".", f"{kind}.", 1)] = drawn.abs() + 1 if name.endswith(".f") else drawn
    return out


def styles(tensors: Mapping[str, Tensor], z: Tensor, lr: float, kind: str = "SE") -> Tensor:
    """z (N, DIM) => w (N, DIM)."""
    x = z.double() / z.double().norm(dim=1, keepdim=True)
    for index in range(sum(name.startswith(f"{kind}.net") for name in tensors) // 2):
        weight, bias = (tensors[f"{kind}.net.{2 * index}.{leaf}"].double() * lr for leaf in ("weight", "bias"))
        x = F.leaky_relu(x @ weight.t() + bias, 0.2)
    return x


def images(tensors: Mapping[str, Tensor], w: Tensor, noise: Tensor, kind: str = "GE") -> Tensor:
    """w (N, DIM), noise (N, size, size, 1) => images."""
    t = {name: one.double() for name, one in tensors.items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ t[f"{name}.weight"].t() + t[f"{name}.bias"]

    def modulated(name: str, x: Tensor, style: Tensor, *, demodulate: bool) -> Tensor:
        out = []
        for one, row in zip(x, style):
            weight = t[f"{name}.weight"] * (row + 1)[None, :, None, None]
            if demodulate:
                weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            out.append(F.conv2d(one[None], weight, padding=weight.shape[-1] // 2))
        return torch.cat(out)

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def attend(at: str, x: Tensor) -> Tensor:
        def normalised(part: int, x: Tensor) -> Tensor:
            seen = F.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1)
            return seen * t[f"{at}.{part}.fn.norm.g"] + t[f"{at}.{part}.fn.norm.b"]

        def conv(name: str, x: Tensor, groups: int = 1) -> Tensor:
            weight = t[f"{at}.{name}.weight"]
            return F.conv2d(x, weight, t.get(f"{at}.{name}.bias"), padding=weight.shape[-1] // 2, groups=groups)

        seen = normalised(0, x)
        both = conv("0.fn.fn.to_kv.net.1", conv("0.fn.fn.to_kv.net.0", seen, x.shape[1]))
        parts = (conv("0.fn.fn.to_q", seen), *both.chunk(2, 1))
        heads = []
        for q, k, v in zip(*(part.flatten(2).mT.split(64, 2) for part in parts)):
            heads.append((q.softmax(2) / 8) @ (k.softmax(1).mT @ v))
        x = x + conv("0.fn.fn.to_out", F.gelu(torch.cat(heads, 2).mT.unflatten(2, x.shape[2:])))
        return x + conv("1.fn.fn.2", F.leaky_relu(conv("1.fn.fn.0", normalised(1, x)), 0.2))

    if f"{kind}.initial_block" in t:
        x = t[f"{kind}.initial_block"].expand(len(w), -1, -1, -1)
    else:
        x = F.conv_transpose2d(w[:, :, None, None], t[f"{kind}.to_initial_block.weight"])
    image = None
    if f"{kind}.initial_conv.weight" in t:
        x = F.conv2d(x, t[f"{kind}.initial_conv.weight"], t[f"{kind}.initial_conv.bias"], padding=1)
    blocks = sum(name.startswith(f"{kind}.blocks") and name.endswith("conv1.weight") for name in t)
    for index in range(blocks):
        at = f"{kind}.blocks.{index}"
        x = attend(f"{kind}.attns.{index}", x) if f"{kind}.attns.{index}.0.fn.norm.g" in t else x
        x = up(x) if index else x
        corner = noise.double()[:, : x.shape[2], : x.shape[3]]
        for number in (1, 2):
            added = linear(f"{at}.to_noise{number}", corner).permute(0, 3, 2, 1)
            x = modulated(f"{at}.conv{number}", x, linear(f"{at}.to_style{number}", w), demodulate=True)
            x = F.leaky_relu(x + added, 0.2)
        rgb = modulated(f"{at}.to_rgb.conv", x, linear(f"{at}.to_rgb.to_style", w), demodulate=False)
        image = rgb if image is None else rgb + image
        if index < blocks - 1:
            image = up(image)
            if f"{at}.to_rgb.upsample.1.f" in t:
                f = t[f"{at}.to_rgb.upsample.1.f"]
                kernel = (f[:, None] * f / f.sum().square()).expand(image.shape[1], 1, 3, 3)
                image = F.conv2d(F.pad(image, (1,) * 4, mode="reflect"), kernel, groups=image.shape[1])
    assert image is not None
    return image
