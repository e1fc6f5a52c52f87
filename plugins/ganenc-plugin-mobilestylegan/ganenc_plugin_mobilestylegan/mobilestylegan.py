"""MobileStyleGAN (Belousov, 2021, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image
Synthesis"), in plain torch."""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_plugin_stylegan.specs import MappingOptions
from ganenc_plugin_stylegan.style_based import StyleBased
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_mobilestylegan import formats
from ganenc_plugin_mobilestylegan.specs import mobilestylegan_spec

__all__ = ["MobileStyleGAN", "inverse_haar"]

SLOPE = 0.2


def inverse_haar(x: Tensor) -> Tensor:
    """One step of the inverse Haar wavelet transform: (N, 4C, H, W) => (N, C, 2H, 2W).

    The first C channels are the low-pass band; the others are, channel by channel, the bands LH, HL and HH.
    """
    low, high = x.split([x.shape[1] // 4, x.shape[1] - x.shape[1] // 4], dim=1)
    lh, hl, hh = rearrange(high, "n (c band) h w -> band n c h w", band=3)
    above, below, left, right = low + lh, low - lh, hl + hh, hl - hh
    pixels = torch.stack([above + left, above - left, below + right, below - right], dim=2)
    return F.pixel_shuffle(pixels.flatten(1, 2) / 2, 2)


class Modulation(nn.Module):
    """The scale of each channel that a style asks for."""

    def __init__(self, w_dim: int, channels: int, gain: float) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(w_dim))
        nn.init.ones_(self.affine.bias)
        self.gain = gain

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, C, H, W), (N, w_dim) => (N, C, H, W)."""
        return x * rearrange(self.affine(w) * self.gain, "n c -> n c 1 1").to(x.dtype)


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU. One of three by three pixels at the constant; elsewhere each
    channel by itself, then all at one pixel. The published weights hold their demodulation."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int], *, whole: bool = False) -> None:
        super().__init__()
        self.modulation = Modulation(w_dim, inputs, gain=1 / math.sqrt(9 * inputs))
        self.depthwise = None if whole else nn.Parameter(torch.randn(inputs, 1, 3, 3))
        side = 3 if whole else 1
        self.weight = nn.Parameter(math.sqrt(2) * torch.randn(outputs, inputs, side, side))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, in, H, W), (N, w_dim), (N or 1, 1, H, W) => (N, out, H, W)."""
        x = self.modulation(x, w)
        if self.depthwise is not None:
            x = F.conv2d(x, self.depthwise.to(x.dtype), padding=1, groups=x.shape[1])
        x = F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), padding=self.weight.shape[-1] // 2)
        if noise is not None:
            x = x + noise.to(x.dtype) * self.noise_strength.to(x.dtype)
        return F.leaky_relu(x, SLOPE)


class Block(nn.Module):
    """One resolution: an inverse wavelet step of modulated features, and two convolutions."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.up = Modulation(w_dim, inputs, gain=1.0)
        self.convs = nn.ModuleList([StyledConv(width, outputs, w_dim, size) for width in (inputs // 4, outputs)])

    def forward(self, x: Tensor, styles: Tensor, noise: list[Tensor | None]) -> Tensor:
        """(N, in, H, W), (N, 2, w_dim), two maps => (N, out, 2H, 2W). The first style is also that of the step."""
        x = inverse_haar(self.up(x, styles[:, 0]))
        for conv, w, one in zip(self.convs, styles.unbind(1), noise):
            x = conv(x, w, one)
        return x


class MobileStyleGAN(StyleBased):
    """MobileStyleGAN's generator: ``map`` is StyleGAN2's mapping network, ``synthesize`` the small network.

    Latents: ``w`` (N, layers, dim) in W+, ``const`` (N, C, 4, 4) in place of the learned constant, and noise maps.
    Style 0 drives the convolution at the constant, styles 3i + 2 and 3i + 3 those of block i, the last one the image.
    The others, one a block, drew the smaller images that only training looks at: they change nothing.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        options = MappingOptions.from_mapping(spec.options, where="the options of a mobilestylegan")
        super().__init__(spec, options, mobilestylegan_spec, features=(spec.size[0] // 2, spec.size[1] // 2))
        w_dim, widths, sizes = self._styles.dim, self._widths, self._sizes
        self.conv = StyledConv(widths[0], widths[0], w_dim, sizes[0], whole=True)
        pairs = zip(itertools.pairwise(widths), sizes[1:])
        self.blocks = nn.ModuleList(Block(*pair, w_dim, size) for pair, size in pairs)
        self.to_image = Modulation(w_dim, widths[-1], gain=1 / math.sqrt(widths[-1]))
        self.weight = nn.Parameter(torch.randn(4 * spec.channels, widths[-1], 1, 1))
        self.bias = nn.Parameter(torch.zeros(4 * spec.channels))
        self.register_buffer("w_avg", torch.full((w_dim,), math.nan))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        w, maps = latents["w"], self._noise(latents, noise)
        x = self.conv(self._start(latents), w[:, 0], maps[0])
        for i, block in enumerate(self.blocks):
            x = block(x, w[:, 3 * i + 2 : 3 * i + 4], maps[2 * i + 1 : 2 * i + 3])
        x = F.conv2d(self.to_image(x, w[:, -1]), self.weight.to(x.dtype), self.bias.to(x.dtype))
        return inverse_haar(x)

    def noise_maps(self) -> list[Tensor]:
        """The maps (H, W) stored with the weights, one for each convolution."""
        return [module.noise_const for module in self.modules() if isinstance(module, StyledConv)]

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the folder holds the two published networks, as OpenVINO's files."""
        return formats.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the folder holds."""
        return cls.from_tensors(*formats.convert(checkpoint))
