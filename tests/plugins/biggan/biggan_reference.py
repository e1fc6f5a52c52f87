"""BigGAN-deep written down a second time, plainly, in the naming of pytorch-pretrained-BigGAN.

One truncation for a batch, spectral normalisation by torch's own hook, nothing folded or fused: what the plugin is
compared with.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

CONFIG: dict[str, Any] = {
    "output_dim": 16,
    "z_dim": 6,
    "class_embed_dim": 6,
    "channel_width": 8,
    "num_classes": 5,
    "layers": [[False, 4, 4], [True, 4, 2], [False, 2, 2], [True, 2, 1]],
    "attention_layer_position": 2,
    "eps": 1e-4,
    "n_stats": 11,
}


class Norm(nn.Module):
    def __init__(self, config: dict[str, Any], channels: int, condition: int = 0) -> None:
        super().__init__()
        self.eps, self.step = config["eps"], 1.0 / (config["n_stats"] - 1)
        self.register_buffer("running_means", torch.randn(config["n_stats"], channels) * 0.5)
        self.register_buffer("running_vars", torch.rand(config["n_stats"], channels) + 0.5)
        if condition:
            self.scale = spectral_norm(nn.Linear(condition, channels, bias=False))
            self.offset = spectral_norm(nn.Linear(condition, channels, bias=False))
        else:
            self.weight, self.bias = nn.Parameter(torch.randn(channels)), nn.Parameter(torch.randn(channels))

    def at(self, table: Tensor, truncation: float) -> Tensor:
        above, row = math.modf(truncation / self.step)
        if above == 0:
            return table[int(row)]
        return above * table[int(row)] + (1 - above) * table[int(row) + 1]

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        mean, var = self.at(self.running_means, truncation), self.at(self.running_vars, truncation)
        x = (x - mean[:, None, None]) / torch.sqrt(var + self.eps)[:, None, None]
        if hasattr(self, "scale"):
            return x * (1 + self.scale(condition))[:, :, None, None] + self.offset(condition)[:, :, None, None]
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Block(nn.Module):
    def __init__(self, config: dict[str, Any], up: bool, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up, self.outputs = up, outputs
        condition, middle = 2 * config["z_dim"], inputs // 4
        for i, width in enumerate((inputs, middle, middle, middle)):
            setattr(self, f"bn_{i}", Norm(config, width, condition))
        self.conv_0 = spectral_norm(nn.Conv2d(inputs, middle, 1))
        self.conv_1 = spectral_norm(nn.Conv2d(middle, middle, 3, padding=1))
        self.conv_2 = spectral_norm(nn.Conv2d(middle, middle, 3, padding=1))
        self.conv_3 = spectral_norm(nn.Conv2d(middle, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        y = self.conv_0(self.bn_0(x, condition, truncation).relu())
        y = self.bn_1(y, condition, truncation).relu()
        if self.up:
            y, x = (t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (y, x))
        y = self.conv_2(self.bn_2(self.conv_1(y), condition, truncation).relu())
        return x[:, : self.outputs] + self.conv_3(self.bn_3(y, condition, truncation).relu())


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, a, b in (
            ("theta", channels, channels // 8),
            ("phi", channels, channels // 8),
            ("g", channels, channels // 2),
            ("o_conv", channels // 2, channels),
        ):
            setattr(self, f"snconv1x1_{name}", spectral_norm(nn.Conv2d(a, b, 1, bias=False)))
        self.gamma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.snconv1x1_theta(x).flatten(2).transpose(1, 2)
        keys = F.max_pool2d(self.snconv1x1_phi(x), 2).flatten(2).transpose(1, 2)
        values = F.max_pool2d(self.snconv1x1_g(x), 2).flatten(2).transpose(1, 2)
        found = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return x + self.gamma * self.snconv1x1_o_conv(found.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


class Generator(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.position = config["attention_layer_position"]
        width = config["channel_width"]
        self.gen_z = spectral_norm(nn.Linear(2 * config["z_dim"], 16 * config["layers"][0][1] * width))
        layers: list[nn.Module] = []
        for i, (up, a, b) in enumerate(config["layers"]):
            if i == self.position:
                layers.append(Attention(a * width))
            layers.append(Block(config, up, a * width, b * width))
        self.layers = nn.ModuleList(layers)
        self.bn = Norm(config, width)
        self.conv_to_rgb = spectral_norm(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, condition: Tensor, truncation: float) -> Tensor:
        x = self.gen_z(condition).reshape(len(condition), 4, 4, -1).permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Attention) else layer(x, condition, truncation)
        return self.conv_to_rgb(self.bn(x, condition, truncation).relu())[:, :3].tanh()


class Net(nn.Module):
    """z (N, z_dim), rows (N, classes), one truncation => images; its state dictionary is the published file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Linear(config["num_classes"], config["z_dim"], bias=False)
        self.generator = Generator(config)
        with torch.no_grad():  # One power iteration each.
            self(torch.zeros(1, config["z_dim"]), torch.eye(config["num_classes"])[:1], 1.0)
        for name, buffer in self.named_buffers():
            if name.endswith(("_u", "_v")):  # As if the weights had moved since.
                buffer.mul_(1 + 0.1 * torch.randn_like(buffer))
        self.eval().requires_grad_(False)

    def forward(self, z: Tensor, rows: Tensor, truncation: float) -> Tensor:
        return self.generator(torch.cat([z, self.embeddings(rows)], dim=1), truncation)
