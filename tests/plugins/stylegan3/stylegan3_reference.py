"""An independent StyleGAN3 in float64, as plain as can be, with its weights and what its files declare.

Weights go by the names of NVIDIA's networks. Zeros are inserted, filters are whole convolutions and weights are scaled
sample by sample, where ours multiplies by matrices and shares: nothing here is imported from the code under test.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Net:
    """The architecture of one network."""

    size: int = 16
    config: str = "t"
    layers: int = 4
    critical: int = 2
    channel_base: int = 64
    channel_max: int = 10
    first_cutoff: float = 2.0
    margin: int = 10
    filter_size: int = 6
    z_dim: int = 7
    w_dim: int = 9
    hidden: int = 9
    mapping: int = 2
    classes: int = 0
    label_dim: int = 5
    embedding: int = 0
    channels: int = 3
    clamp: float | None = 256.0
    lr: float = 0.01
    scale: float = 0.25
    skips: int = 1000
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The published plan of layers: one row each, the input first."""
        exponents = np.minimum(np.arange(self.layers + 1) / (self.layers - self.critical), 1)
        cutoffs = self.first_cutoff * (self.size / 2 / self.first_cutoff) ** exponents
        stops = 2**2.1 * (self.size / 2 * 2**0.3 / 2**2.1) ** exponents
        rates = np.exp2(np.ceil(np.log2(np.minimum(stops * 2, self.size))))
        halves = np.maximum(stops, rates / 2) - cutoffs
        sizes = rates + 2 * self.margin
        sizes[-2:] = self.size
        widths = np.rint(np.minimum(self.channel_base / 2 / cutoffs, self.channel_max))
        widths[-1] = self.channels
        for i in range(-1, self.layers + 1):
            here, before = max(i, 0), max(i - 1, 0)
            last = i == self.layers
            between = max(rates[before], rates[here]) * (1 if last else 2)
            self.rows.append(
                {
                    "name": f"L{i + (i >= self.skips)}_{int(sizes[here])}_{int(widths[here])}",
                    "inputs": int(widths[before]),
                    "outputs": int(widths[here]),
                    "in_size": int(sizes[before]),
                    "size": int(sizes[here]),
                    "rate": float(rates[here]),
                    "cutoff": float(cutoffs[here]),
                    "half": float(halves[here]),
                    "up": int(between / rates[before]),
                    "down": int(between / rates[here]),
                    "kernel": 3 if self.config == "t" and not last else 1,
                    "radial": self.config == "r" and i < self.layers - self.critical,
                    "last": last,
                }
            )


def weights(net: Net, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the names of NVIDIA's networks, in float32; filters are no low-pass filters."""
    rng = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}

    def draw(name: str, *shape: int, scale: float = 1.0, offset: float = 0.0) -> None:
        out[name] = torch.randn(shape, generator=rng) * scale + offset

    label_dim = net.label_dim if net.classes else 0
    if net.embedding:
        draw("mapping.embed.weight", net.classes + 2, net.embedding)
        draw("mapping.embed_proj.weight", label_dim, net.embedding)
        draw("mapping.embed_proj.bias", label_dim)
    elif net.classes:
        draw("mapping.embed.weight", label_dim, net.classes)
        draw("mapping.embed.bias", label_dim)
    sizes = [net.z_dim + label_dim, *[net.hidden] * (net.mapping - 1), net.w_dim]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        draw(f"mapping.fc{i}.weight", b, a, scale=1 / net.lr)
        draw(f"mapping.fc{i}.bias", b, scale=0.1 / net.lr)
    draw("mapping.w_avg", *([net.classes] if net.embedding else []), net.w_dim)
    start, *rows = net.rows
    draw("synthesis.input.weight", start["outputs"], start["outputs"])
    draw("synthesis.input.freqs", start["outputs"], 2)
    out["synthesis.input.freqs"] *= 1.2 * net.first_cutoff / out["synthesis.input.freqs"].norm(dim=1).max()
    draw("synthesis.input.phases", start["outputs"])
    draw("synthesis.input.affine.weight", 4, net.w_dim, scale=0.1)
    out["synthesis.input.affine.bias"] = torch.tensor([0.8, 0.3, 0.1, -0.2])
    out["synthesis.input.transform"] = torch.tensor([[0.9, 0.2, 0.1], [-0.3, 1.1, 0.05], [0.0, 0.0, 1.0]])
    for row in rows:
        name = f"synthesis.{row['name']}"
        draw(f"{name}.weight", row["outputs"], row["inputs"], row["kernel"], row["kernel"])
        draw(f"{name}.bias", row["outputs"], scale=0.2)
        draw(f"{name}.affine.weight", row["inputs"], net.w_dim, scale=0.3)
        draw(f"{name}.affine.bias", row["inputs"], scale=0.2, offset=1.0)
        out[f"{name}.magnitude_ema"] = 0.5 + torch.rand((), generator=rng)
        for way in ("up", "down"):
            taps = net.filter_size * row[way]
            if row[way] > 1:
                shape = (taps, taps) if way == "down" and row["radial"] else (taps,)
                kernel = torch.rand(shape, generator=rng) + 0.1
                out[f"{name}.{way}_filter"] = kernel / kernel.sum()
    return out


def metadata(net: Net) -> dict[str, Any]:
    """What NVIDIA's networks say of themselves beside their tensors."""
    start, *rows = net.rows
    layers = {}
    for row in rows:
        before = _before(net, row)
        layers[row["name"]] = {
            "is_torgb": row["last"],
            "out_sampling_rate": int(row["rate"]),
            "out_cutoff": row["cutoff"],
            "out_half_width": row["half"],
            "in_half_width": start["half"],
            "conv_clamp": net.clamp,
            "up_factor": row["up"],
            "down_factor": row["down"],
            "padding": [*before, *before],
        }
    own = {"sampling_rate": start["rate"], "bandwidth": start["cutoff"], "channels": start["outputs"]}
    fcs = {f"fc{i}": {"activation": "lrelu", "bias_gain": net.lr} for i in range(net.mapping)}
    synthesis = {"input": own, "output_scale": net.scale, "layer_names": [row["name"] for row in rows], **layers}
    declared = {"img_resolution": net.size, "c_dim": net.classes, "z_dim": net.z_dim}
    return {"class_name": "Generator", **declared, "synthesis": synthesis, "mapping": fcs}


def _before(net: Net, row: dict[str, Any]) -> tuple[int, int]:
    """Padding before and behind, after zeros are inserted."""
    taps = [net.filter_size * row[way] if row[way] > 1 else 1 for way in ("up", "down")]
    total = (row["size"] - 1) * row["down"] + 1 - (row["in_size"] + row["kernel"] - 1) * row["up"] + sum(taps) - 2
    low = (total + row["up"]) // 2
    return low, total - low


def _normalise(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def mapping(net: Net, tensors: dict[str, Tensor], z: Tensor, labels: Tensor | None = None) -> Tensor:
    """z (N, z_dim), rows (N, classes) => w (N, w_dim), in float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    x = _normalise(z.double())
    if labels is not None and net.embedding:
        y = t["mapping.embed.weight"][labels.argmax(1)] @ t["mapping.embed_proj.weight"].T / math.sqrt(net.embedding)
        x = torch.cat([x, _normalise(_lrelu(y + t["mapping.embed_proj.bias"]))], 1)
    elif labels is not None:
        y = labels.double() @ t["mapping.embed.weight"].T / math.sqrt(net.classes) + t["mapping.embed.bias"]
        x = torch.cat([x, _normalise(y)], 1)
    for i in range(net.mapping):
        weight = t[f"mapping.fc{i}.weight"]
        x = _lrelu(x @ weight.T * (net.lr / math.sqrt(weight.shape[1])) + t[f"mapping.fc{i}.bias"] * net.lr)
    return x


def synthesis(net: Net, tensors: dict[str, Tensor], w: Tensor, turn: Tensor | None = None) -> Tensor:
    """w (N, layers, w_dim) => images, in float64; ``turn`` (3, 3) turns and shifts the image that would be made."""
    t = {name.removeprefix("synthesis."): tensor.double() for name, tensor in tensors.items()}
    return torch.cat([_one(net, t, styles, turn) for styles in w.double()])


def _one(net: Net, t: dict[str, Tensor], w: Tensor, turn: Tensor | None) -> Tensor:
    start, *rows = net.rows

    def affine(name: str, style: Tensor) -> Tensor:
        return t[f"{name}.affine.weight"] @ style / math.sqrt(net.w_dim) + t[f"{name}.affine.bias"]

    cos, sin, x, y = affine("input", w[0]) / affine("input", w[0])[:2].norm()
    turned = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)
    shifted = torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=torch.float64)
    plane = turned @ shifted @ t["input.transform"]
    if turn is not None:
        plane = plane @ torch.linalg.inv(turn.double())
    places = (torch.arange(start["size"], dtype=torch.float64) + 0.5 - start["size"] / 2) / start["rate"]
    maps = []
    for freq, phase in zip(t["input.freqs"], t["input.phases"]):
        across, down = freq @ plane[:2, :2]
        loss = (math.hypot(across, down) - start["cutoff"]) / (start["rate"] / 2 - start["cutoff"])
        wave = torch.sin(2 * math.pi * (across * places + down * places[:, None] + phase + freq @ plane[:2, 2]))
        maps.append(wave * min(max(1 - float(loss), 0), 1))
    features = torch.einsum("oc,chw->ohw", t["input.weight"] / math.sqrt(start["outputs"]), torch.stack(maps))
    for row, style in zip(rows, w[1:]):
        name = row["name"]
        s, weight = affine(name, style), t[f"{name}.weight"]
        if row["last"]:
            weight = weight * s[:, None, None] / math.sqrt(row["inputs"])
        else:
            weight = (
                weight
                / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
                * (s / s.square().mean().sqrt())[:, None, None]
            )
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        weight = weight / t[f"{name}.magnitude_ema"].sqrt()
        features = F.conv2d(features[None], weight, t[f"{name}.bias"], padding=row["kernel"] - 1)[0]
        low, high = _before(net, row)
        spread = features.new_zeros(len(features), *(side * row["up"] for side in features.shape[1:]))
        spread[:, :: row["up"], :: row["up"]] = features
        features = _filter(F.pad(spread, (low, high, low, high)), t.get(f"{name}.up_filter"), row["up"] ** 2)
        features = features if row["last"] else _lrelu(features)
        features = features if net.clamp is None else features.clamp(-net.clamp, net.clamp)
        features = _filter(features, t.get(f"{name}.down_filter"), 1)[:, :: row["down"], :: row["down"]]
    return features[None] * net.scale


def _filter(x: Tensor, kernel: Tensor | None, gain: float) -> Tensor:
    if kernel is None:
        return x * gain
    if kernel.ndim == 1:
        row = kernel.flip(0)[None, None, None]
        return F.conv2d(F.conv2d(x[:, None], row * gain), row.mT)[:, 0]
    return F.conv2d(x[:, None], kernel.flip(0, 1)[None, None] * gain)[:, 0]
