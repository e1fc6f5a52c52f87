"""FastGAN, Projected GANs' FastGAN and lightweight-gan, module by module under the names of their files, with torch's
own spectral normalisation. What is drawn as noise is taken from a list."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FastNet", "LightNet", "settled"]

Wrap = Callable[[nn.Module], nn.Module]
NORMALISED: dict[str, Wrap] = {
    "hook": nn.utils.spectral_norm,
    "parametrized": nn.utils.parametrizations.spectral_norm,
    "plain": lambda module: module,
}


class Noise(nn.Module):
    """Adds what the network is given next."""

    given: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * (self.given.pop(0) if self.given else torch.zeros(()))


class Labelled(nn.Module):
    """Batch norm by a condition."""

    def __init__(self, channels: int, condition: int, wrap: Wrap) -> None:
        super().__init__()
        self.gain = wrap(nn.Linear(condition, channels))
        self.bias = wrap(nn.Linear(condition, channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = F.batch_norm(x, self.stored_mean, self.stored_var, training=self.training, momentum=1.0)
        return x * (1 + self.gain(c))[..., None, None] + self.bias(c)[..., None, None]


class LabelledLevel(nn.Module):
    """One level where labels matter: both convolutions share one strength of noise."""

    def __init__(self, inputs: int, outputs: int, condition: int, wrap: Wrap, *, big: bool) -> None:
        super().__init__()
        self.names = ["1", "2"] if big else [""]
        for name, width in zip(self.names, (inputs, outputs)):
            setattr(self, f"conv{name}", wrap(nn.Conv2d(width, 2 * outputs, 3, 1, 1, bias=False)))
            setattr(self, f"bn{name}", Labelled(2 * outputs, condition, wrap))
        if big:
            self.noise = Noise()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2)
        for name in self.names:
            x = getattr(self, f"conv{name}")(x)
            x = F.glu(getattr(self, f"bn{name}")(self.noise(x) if name else x, c), 1)
        return x


class Init(nn.Module):
    """z as a column => 4x4."""

    def __init__(self, z_dim: int, width: int, wrap: Wrap) -> None:
        super().__init__()
        conv = wrap(nn.ConvTranspose2d(z_dim, 2 * width, 4, bias=False))
        self.init = nn.Sequential(conv, nn.BatchNorm2d(2 * width), nn.GLU(1))


class Excite(nn.Module):
    """Small features => factors."""

    def __init__(self, inputs: int, outputs: int, wrap: Wrap) -> None:
        super().__init__()
        first, last = nn.Conv2d(inputs, outputs, 4, bias=False), nn.Conv2d(outputs, outputs, 1, bias=False)
        self.main = nn.Sequential(nn.AdaptiveAvgPool2d(4), wrap(first), nn.SiLU(), wrap(last), nn.Sigmoid())


class FastNet(nn.Module):
    """FastGAN, or Projected GANs' synthesis network.

    Args:
        size: side of the images.
        unit: published ``ngf``.
        small: resolutions with a single convolution.
        projected: by which program.
        classes: rows of the table of labels.
        normalised: how weights are.
    """

    def __init__(
        self,
        size: int = 128,
        unit: int = 8,
        *,
        small: tuple[int, ...] = (),
        projected: bool = True,
        classes: int = 0,
        normalised: str = "hook",
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.size, self.projected, self.z_dim, self.noisy = size, projected, 6, []
        wrap = NORMALISED[normalised]
        times = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}
        widths = {side: int(unit * multiple) for side, multiple in times.items()}
        self.init = Init(self.z_dim, widths[4], wrap)
        for side in (side for side in widths if 4 < side <= max(size, 256)):
            a, b = widths[side // 2], widths[side]
            if classes:
                level: nn.Module = LabelledLevel(a, b, self.z_dim, wrap, big=side not in small)
            else:
                rows: list[nn.Module] = [nn.Upsample(scale_factor=2)]
                for width in (a,) if side in small else (a, b):
                    noise = [] if side in small else [Noise()]
                    conv = wrap(nn.Conv2d(width, 2 * b, 3, 1, 1, bias=False))
                    rows += [conv, *noise, nn.BatchNorm2d(2 * b), nn.GLU(1)]
                level = nn.Sequential(*rows)
            setattr(self, f"feat_{side}", level)
            if 64 <= side <= 512:
                setattr(self, f"se_{side}", Excite(widths[side // 16], b, wrap))
            if side <= size and side not in small:
                self.noisy += [side, side]
        if not projected:
            self.to_128 = wrap(nn.Conv2d(widths[128], channels, 1, bias=False))
        self.to_big = wrap(nn.Conv2d(widths[size], channels, 3, 1, 1, bias=projected))
        if classes:
            self.embed = nn.Embedding(classes, self.z_dim)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.projected:
            z = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
        condition = [] if labels is None else [self.embed(labels)]
        found, side = {4: self.init.init(z[..., None, None])}, 8
        while side <= self.size:
            found[side] = getattr(self, f"feat_{side}")(found[side // 2], *condition)
            if 64 <= side <= 512:
                found[side] = found[side] * getattr(self, f"se_{side}").main(found[side // 16])
            side *= 2
        images: Tensor = self.to_big(found[self.size])
        return images.tanh() if self.size == 1024 and not self.projected else images


class Shuffle(nn.Module):
    """A convolution whose channels become pixels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.SiLU(), nn.PixelShuffle(2))
        self.forward = self.net.forward


class Blurred(nn.Module):
    """A kernel along both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("f", torch.tensor([1.0, 2.0, 0.9]))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.f[:, None] * self.f
        x = F.pad(x, (1, 1, 1, 1), "reflect")
        return torch.cat([F.conv2d(one, (kernel / kernel.sum())[None, None]) for one in x.split(1, 1)], 1)


class Factors(nn.Module):
    """Features => factors, by context or by frequencies."""

    def __init__(self, inputs: int, outputs: int, side: int, kind: str) -> None:
        super().__init__()
        middle = max(3, outputs // (2 if kind == "context" else 4))
        if kind == "context":
            self.to_k = nn.Conv2d(inputs, 1, 1)
        else:
            waves, part = torch.zeros(1, inputs, side, side), inputs // 16
            for index, (u, v) in enumerate([*((0, k) for k in range(8)), *((k, 0) for k in range(8))]):
                for x in range(side):
                    for y in range(side):
                        cosines = [math.cos(math.pi * f * (at + 0.5) / side) for f, at in ((u, x), (v, y))]
                        scales = [math.sqrt((2 if f else 1) / side) for f in (u, v)]
                        waves[:, index * part : (index + 1) * part, x, y] = math.prod(cosines + scales)
            self.register_buffer("dct_weights", waves)
        first, last = nn.Conv2d(inputs, middle, 1), nn.Conv2d(middle, outputs, 1)
        self.net = nn.Sequential(first, nn.LeakyReLU(0.1), last, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "to_k"):
            weights = self.to_k(x).flatten(2).softmax(-1)
            pooled = torch.einsum("bin,bcn->bci", weights, x.flatten(2))[..., None]
        else:
            pooled = (x * self.dct_weights).sum((2, 3))[..., None, None]
        return self.net(pooled)


class Attends(nn.Module):
    """Attention of both kinds, head by head; what is normalised before lies beside it in the file."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_lin_q = nn.Conv2d(channels, 512, 1, bias=False)
        self.to_lin_kv = nn.Module()
        deep = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.to_lin_kv.net = nn.Sequential(deep, nn.Conv2d(channels, 1024, 1, bias=False))
        self.to_q = nn.Conv2d(channels, 512, 1, bias=False)
        self.to_kv = nn.Conv2d(channels, 1024, 1, bias=False)
        self.to_out = nn.Conv2d(1024, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        far, near = [], []
        kv = self.to_lin_kv.net(x)
        for q, k, v in zip(self.to_lin_q(x).split(64, 1), *(one.split(64, 1) for one in kv.chunk(2, 1))):
            q, k, v = (rearrange(one, "b c h w -> b (h w) c") for one in (q, k, v))
            context = torch.einsum("bnd,bne->bde", k.softmax(1), v)
            made = torch.einsum("bnd,bde->bne", q.softmax(2) / 8, context)
            far.append(rearrange(made, "b (h w) c -> b c h w", h=height))
        kv = F.pad(self.to_kv(x), (1, 1, 1, 1))
        for q, k, v in zip(self.to_q(x).split(64, 1), *(one.split(64, 1) for one in kv.chunk(2, 1))):
            places = [(i, j) for i in range(3) for j in range(3)]
            keys, values = (torch.stack([one[..., i : i + height, j : j + width] for i, j in places]) for one in (k, v))
            weights = (keys * q / 8).sum(2, keepdim=True).softmax(0)
            near.append((weights * values).sum(0))
        return self.to_out(torch.cat([F.gelu(torch.cat(far, 1)), *near], 1))


class Before(nn.Module):
    """Normalised channels, then attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fn, self.norm = Attends(channels), nn.Module()
        self.norm.g = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.norm.b = nn.Parameter(torch.randn(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        normalised = F.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1)
        return self.fn(normalised * self.norm.g + self.norm.b)


class LightNet(nn.Module):
    """lightweight-gan's generator, of one of its versions."""

    def __init__(
        self,
        widths: tuple[int, ...] = (6, 5, 4, 3),
        *,
        version: str = "1.2",
        antialias: bool = True,
        attention: tuple[int, ...] = (),
        kind: str = "context",
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.z_dim, self.noisy, size = widths[0], [], 2 << len(widths)
        self.initial_conv = nn.Sequential(
            nn.ConvTranspose2d(self.z_dim, 2 * widths[0], 4), nn.BatchNorm2d(2 * widths[0]), nn.GLU(1)
        )
        self.layers = nn.ModuleList()
        for level, (a, b) in enumerate(itertools.pairwise(widths)):
            side = 8 << level
            middle = b if version == "1.0" else a
            smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            up: nn.Module = {
                "0.20": nn.Upsample(scale_factor=2),
                "0.21": smooth,
                "0.23": nn.Upsample(scale_factor=2),
            }.get(version, Shuffle(a, middle))
            conv: nn.Module = nn.Conv2d(middle, 2 * b, 3, padding=1)
            if version >= "0.22":
                conv = nn.Sequential(nn.ZeroPad2d((2, 1, 2, 1)), nn.Conv2d(middle, 2 * b, 4))
            noise = [Noise()] if version >= "0.21" else []
            self.noisy += [side] * len(noise)
            excites = side in (16, 32, 64, 128) and 8 * side <= size
            row = [up, Blurred() if antialias else nn.Identity(), conv, *noise, nn.BatchNorm2d(2 * b), nn.GLU(1)]
            self.layers.append(
                nn.ModuleList(
                    [
                        nn.Sequential(*row),
                        Factors(b, widths[level + 4], side, kind) if excites else None,
                        Before(a) if side // 2 in attention else None,
                    ]
                )
            )
        self.out_conv = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.initial_conv(z[..., None, None])
        x = x / x.norm(dim=1, keepdim=True)
        factors: dict[int, Tensor] = {}
        for level, (up, excite, attend) in enumerate(self.layers):
            x = up(x + attend(x) if attend else x)
            if excite:
                factors[level + 3] = excite(x)
            x = x * factors.get(level, torch.ones(()))
        return self.out_conv(x)


def settled(net: Any, *given: Any) -> Any:
    """The network after a step of training has moved its statistics and singular vectors, in eval mode."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            with torch.no_grad():
                module.weight.mul_(2)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    Noise.given = []
    for _ in range(2):
        net.train()(torch.randn(6, net.z_dim), *given)
    for name, variances in net.named_buffers():
        if name.endswith("_var"):  # No rounding grows from level to level.
            variances.clamp_(min=float(variances.mean())).mul_(2)
    return net.eval()
