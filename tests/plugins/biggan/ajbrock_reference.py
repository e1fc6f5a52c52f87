"""BigGAN and BigGAN-deep written down a second time, plainly, in the naming of ajbrock/BigGAN-PyTorch.

Weights are a flat dictionary, which `images` runs as the published code does: spectral normalisation by one step from
the stored vector at each use, the class before z in every condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ATTENTION = {"theta": (8, 1), "phi": (8, 1), "g": (2, 1), "o": (1, 2)}


@dataclass(frozen=True)
class Net:
    """Widths at each resolution from the first on; ``attention`` counts resolutions, each after its last block."""

    widths: Sequence[int] = (16, 16, 8)
    depth: int = 0
    z_dim: int = 6
    c_dim: int = 5
    classes: int = 3
    hier: bool = True
    shared: bool = True
    attention: tuple[int, ...] = ()
    normalised: bool = True
    base: int = 4
    channels: int = 3

    @property
    def blocks(self) -> list[tuple[bool, int, int]]:
        """For each block whether it doubles the size, and its channels."""
        found = []
        for before, after in itertools.pairwise(self.widths):
            found += [(False, before, before)] * (self.depth - 1) + [(True, before, after)]
        return found

    @property
    def chunk(self) -> int:
        """How much of z the first layer takes, and each block of a network that is not deep."""
        return self.z_dim if self.depth or not self.hier else self.z_dim // (len(self.blocks) + 1)


def weights(net: Net, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the published names."""
    rng = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        out[f"{name}.weight"] = draw(*shape) * 2
        if bias:
            out[f"{name}.bias"] = draw(shape[0]) * 0.1
        if net.normalised:
            out.update({f"{name}.u0": draw(1, shape[0]), f"{name}.sv0": draw(1)})

    def norm(name: str, channels: int, seen: int) -> None:
        for part in ("gain", "bias"):
            if not seen:
                out[f"{name}.{part}"] = 1 + 0.3 * draw(channels)
            elif net.shared:
                layer(f"{name}.{part}", channels, seen, bias=False)
            else:
                out[f"{name}.{part}.weight"] = 0.3 * draw(net.classes, channels)
        out[f"{name}.stored_mean"] = 0.3 * draw(channels)
        out[f"{name}.stored_var"] = 0.5 + draw(channels).abs()

    seen = net.c_dim + (net.chunk if net.hier else 0)
    if net.shared:
        out["shared.weight"] = draw(net.classes, net.c_dim)
    inputs = seen if net.depth and net.hier else net.chunk
    layer("linear", net.widths[0] * net.base**2, inputs)
    for index, (up, before, after) in enumerate(net.blocks):
        name, middle = f"blocks.{index}.0", before // 4
        if net.depth:
            shapes = [(middle, before, 1, 1), (middle, middle, 3, 3), (middle, middle, 3, 3), (after, middle, 1, 1)]
        else:
            shapes = [(after, before, 3, 3), (after, after, 3, 3)]
            layer(f"{name}.conv_sc", after, before, 1, 1)
        for number, shape in enumerate(shapes, start=1):
            layer(f"{name}.conv{number}", *shape)
            norm(f"{name}.bn{number}", shape[1], seen)
        stage = index // max(net.depth, 1)
        if stage in net.attention and up:
            out[f"blocks.{index}.1.gamma"] = draw().abs()
            for part, (less_out, less_in) in ATTENTION.items():
                layer(f"blocks.{index}.1.{part}", after // less_out, after // less_in, 1, 1, bias=False)
    norm("output_layer.0", net.widths[-1], 0)
    layer("output_layer.2", net.channels, net.widths[-1], 3, 3)
    return out


def images(net: Net, tensors: dict[str, Tensor], z: Tensor, labels: Tensor) -> Tensor:
    """z (N, z_dim), classes (N,) => images (N, C, H, W), in double precision."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def weight(name: str) -> Tensor:
        found = t[f"{name}.weight"]
        if f"{name}.u0" not in t:
            return found
        matrix = found.reshape(len(found), -1)
        v = F.normalize(t[f"{name}.u0"] @ matrix)
        u = F.normalize(v @ matrix.t())
        return found / (v @ matrix.t() @ u.t()).squeeze()

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, weight(name), t.get(f"{name}.bias"), padding=t[f"{name}.weight"].shape[-1] // 2)

    def norm(name: str, x: Tensor, seen: Tensor | None) -> Tensor:
        x = F.batch_norm(x, t[f"{name}.stored_mean"], t[f"{name}.stored_var"], eps=1e-5)
        if seen is None:
            gain, bias = t[f"{name}.gain"][None], t[f"{name}.bias"][None]
        elif net.shared:
            gain, bias = (F.linear(seen, weight(f"{name}.{part}")) for part in ("gain", "bias"))
        else:
            gain, bias = (F.embedding(labels, t[f"{name}.{part}.weight"]) for part in ("gain", "bias"))
        return x * (gain if seen is None else 1 + gain)[:, :, None, None] + bias[:, :, None, None]

    def attend(name: str, x: Tensor) -> Tensor:
        theta, phi, g = (conv(f"{name}.{part}", x) for part in ("theta", "phi", "g"))
        phi, g = (F.max_pool2d(one, 2).flatten(2) for one in (phi, g))
        beta = torch.softmax(theta.flatten(2).mT @ phi, -1)
        return t[f"{name}.gamma"] * conv(f"{name}.o", (g @ beta.mT).reshape(len(x), -1, *x.shape[2:])) + x

    z = z.double()
    y = t["shared.weight"][labels] if net.shared else torch.empty(len(z), 0).double()
    if net.depth:
        z = torch.cat([y, z], 1) if net.hier else z
        seen = [z if net.hier else y] * len(net.blocks)
    elif net.hier:
        z, *chunks = z.split(net.chunk, 1)
        seen = [torch.cat([y, chunk], 1) for chunk in chunks]
    else:
        seen = [y] * len(net.blocks)
    x = F.linear(z, weight("linear"), t["linear.bias"]).view(len(z), -1, net.base, net.base)
    for index, (up, _, after) in enumerate(net.blocks):
        name, scale = f"blocks.{index}.0", 2 if up else 1
        h = F.interpolate(norm(f"{name}.bn1", x, seen[index]).relu(), scale_factor=1 if net.depth else scale)
        h = norm(f"{name}.bn2", conv(f"{name}.conv1", h), seen[index]).relu()
        x = F.interpolate(x, scale_factor=scale)
        if net.depth:
            h = conv(f"{name}.conv2", F.interpolate(h, scale_factor=scale))
            h = conv(f"{name}.conv3", norm(f"{name}.bn3", h, seen[index]).relu())
            x = x[:, :after] + conv(f"{name}.conv4", norm(f"{name}.bn4", h, seen[index]).relu())
        else:
            x = conv(f"{name}.conv_sc", x) + conv(f"{name}.conv2", h)
        if f"blocks.{index}.1.gamma" in t:
            x = attend(f"blocks.{index}.1", x)
    return torch.tanh(conv("output_layer.2", norm("output_layer.0", x, None).relu()))
