"""The input and the layers of StyleGAN3's synthesis network (Karras et al., 2021, section 3 and appendix B)."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from ganenc_plugin_stylegan.layers import FullyConnected, modulated_sum
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_stylegan3.filters import Axis, design, filtered_lrelu
from ganenc_plugin_stylegan3.specs import LayerOptions, StyleGAN3Options

__all__ = ["FourierInput", "Image", "Inside", "Layer"]

EPSILON = 1e-8
"""Added to the energy of a modulated weight (published code)."""
TINY = 1e-20
EMA_BETA = 0.999
NEARLY_STILL = 0.01
"""Size of the first weights by which a style turns and shifts the input; the published 0 lets no gradient through."""


class FourierInput(nn.Module):
    """Sines of all directions on an infinite plane, which a style and a given transform turn and shift.

    Attributes:
        transform: of the image plane, inverse, as files store it: (3, 3).
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, options: StyleGAN3Options, w_dim: int) -> None:
        super().__init__()
        channels = options.input_channels
        self.size, self.rate, self.bandwidth = options.input_size, options.input_rate, options.bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnected(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.mul_(NEARLY_STILL)
            self.affine.bias[0] = 1.0
        directions = torch.randn(channels, 2)
        radii = directions.norm(dim=1, keepdim=True)
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", directions / (radii * (radii.square() / 4).exp()) * self.bandwidth)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, w: Tensor, turn: Tensor) -> Tensor:
        """Styles (N, w_dim), inverse transforms (N, 3, 3) of the image made => (N, channels, H, W)."""
        cos, sin, x, y = (learned := self.affine(w)).div(learned[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        matrix = rigid(cos, -sin, -x * cos + y * sin, -x * sin - y * cos) @ self.transform @ turn
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)
        freqs = self.freqs @ matrix[:, :2, :2]
        beyond = (freqs.norm(dim=2) - self.bandwidth) / (self.rate / 2 - self.bandwidth)
        places = [(torch.arange(side, device=w.device) + 0.5 - side / 2) / self.rate for side in self.size]
        down, right = (place.to(w.dtype) for place in places)
        horizontal = rearrange(freqs[..., 0], "n c -> n c 1 1") * right
        vertical = rearrange(freqs[..., 1], "n c -> n c 1 1") * down[:, None]
        waves = torch.sin((horizontal + vertical + phases[..., None, None]) * (2 * math.pi))
        waves = waves * (1 - beyond).clamp(0, 1)[..., None, None]
        return F.conv2d(waves, self.weight[..., None, None] / math.sqrt(len(self.weight)))


def rigid(cos: Tensor, sin: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The matrices (N, 3, 3) of turns by ((cos, sin), (-sin, cos)), followed by shifts."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    made: Tensor = torch.stack([cos, sin, x, -sin, cos, y, zero, zero, one], dim=1).unflatten(1, (3, 3))
    return made


class Inside(nn.Module):
    """What of a map with margins lies inside the image, for who watches."""

    def __init__(self, size: tuple[int, int], inside: tuple[int, int]) -> None:
        super().__init__()
        height, width = self.size = min(inside[0], size[0]), min(inside[1], size[1])
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        self.place = (..., slice(top, top + height), slice(left, left + width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H', W')."""
        return x[self.place]

    def shown(self, x: Tensor) -> Tensor:
        """The same map, made of what is watched inside it and of its margins."""
        if not self._forward_hooks:
            return x
        whole = x.clone()
        whole[self.place] = self(x)
        return whole


class Layer(nn.Module):
    """Modulated convolution, bias, and a leaky ReLU between two low-pass filters."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        options: LayerOptions,
        before: tuple[int, float, float, tuple[int, int]],
        w_dim: int,
        clamp: float | None,
        inside: tuple[int, int],
    ) -> None:
        """``before`` are channels, cutoff, half width and size of what comes in, ``inside`` the image's size here."""
        super().__init__()
        self.inside = Inside(options.size, inside)
        inputs, cutoff, half_width, size = before
        self.options, self.clamp = options, clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(options.channels, inputs, options.kernel, options.kernel))
        self.bias = nn.Parameter(torch.zeros(options.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        rate, up, down = options.rate * options.down, options.up_taps, options.down_taps
        first = design(up, cutoff=cutoff, half_width=half_width, rate=rate) if up > 1 else None
        shape = {"cutoff": options.cutoff, "half_width": options.half_width}
        self.register_buffer("up_filter", first)
        self.register_buffer(
            "down_filter", design(down, rate=rate, radial=options.radial, **shape) if down > 1 else None
        )
        height, width = (
            Axis(inputs + options.kernel - 1, outputs, options.up, options.down, up, down)
            for inputs, outputs in zip(size, options.size)
        )
        self.axes = (height, width)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, in, H, W), (N, w_dim) => (N, out, H', W')."""
        gain = follow(self, x)
        styles = self.affine(w)
        styles = styles * (styles.square().mean(1, keepdim=True) + TINY).rsqrt()
        weight = self.weight * self.weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
        factor = (styles.square() @ weight.square().sum((2, 3)).mT + EPSILON).rsqrt()
        x = x * rearrange(styles * gain, "n i -> n i 1 1").to(x.dtype)
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[-1] - 1)
        x = torch.addcmul(self.bias.to(x.dtype)[:, None, None], x, rearrange(factor, "n o -> n o 1 1").to(x.dtype))
        return self.inside.shown(filtered_lrelu(x, self.up_filter, self.down_filter, self.axes, clamp=self.clamp))


class Image(nn.Module):
    """Features => image: a modulated sum over channels, and a bias."""

    magnitude_ema: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("magnitude_ema", torch.ones(()))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, in, H, W), (N, w_dim) => (N, image channels, H, W)."""
        gain = follow(self, x) / math.sqrt(self.weight.shape[1])
        x = modulated_sum(x, self.weight, self.affine(w) * gain) + self.bias.to(x.dtype)[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


def follow(layer: Layer | Image, x: Tensor) -> Tensor:
    """What features are multiplied by so that they are of unit size on average, which training follows."""
    if layer.training:
        with torch.no_grad():
            layer.magnitude_ema.lerp_(x.square().mean().to(layer.magnitude_ema), 1 - EMA_BETA)
    return layer.magnitude_ema.rsqrt()
