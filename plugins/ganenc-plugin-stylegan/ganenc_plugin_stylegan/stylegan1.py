"""StyleGAN1 (Karras et al., 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks")."""

from __future__ import annotations

import itertools
import math

import torch
from ganenc.encoders import conv_doubled
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_stylegan import stylegan1_formats
from ganenc_plugin_stylegan.layers import FullyConnected, adaptive_instance_norm, blur, fir_kernel
from ganenc_plugin_stylegan.specs import StyleGAN1Options, stylegan1_spec
from ganenc_plugin_stylegan.style_based import StyleBased

__all__ = ["StyleGAN1"]


class Epilogue(nn.Module):
    """Noise with a strength for each channel, bias, leaky ReLU and AdaIN: what ends each layer (Figure 1b)."""

    noise_const: Tensor

    def __init__(self, channels: int, w_dim: int, size: tuple[int, int], options: StyleGAN1Options) -> None:
        super().__init__()
        self.slope, self.epsilon = options.slope, options.epsilon
        self.affine = FullyConnected(w_dim, 2 * channels)
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise_const", torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, *, biased: bool = False) -> Tensor:
        """(N, C, H, W), with the bias already or not, (N, w_dim), (N or 1, 1, H, W) => (N, C, H, W)."""
        if noise is not None:
            x = x + noise.to(x.dtype) * self.noise_strength.to(x.dtype)[:, None, None]
        x = x if biased else x + self.bias.to(x.dtype)[:, None, None]
        return adaptive_instance_norm(F.leaky_relu(x, self.slope), self.affine(w), self.epsilon)


class StyledConv(nn.Module):
    """A convolution, doubled in size and blurred if ``up``, and an epilogue."""

    kernel: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int], options: StyleGAN1Options, *, up: bool
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.gain = math.sqrt(2 / (inputs * 9))
        self.epilogue = Epilogue(outputs, w_dim, size, options)
        self.up, self.before_blur = up, options.before_blur
        own = fir_kernel(options.blur).repeat(outputs, 1, 1) if up and options.own_filters else None
        self.register_buffer("kernel", own)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor) -> Tensor:
        """(N, in, H, W), (N, w_dim), (N or 1, 1, H', W'), the low-pass filter => (N, out, H', W')."""
        weight = (self.weight * self.gain).to(x.dtype)
        early = self.up and self.before_blur != "nothing"
        if self.up:
            x = conv_doubled(x, weight, self.epilogue.bias.to(x.dtype) if early else None)
            x = F.leaky_relu(x, self.epilogue.slope) if self.before_blur == "activation" else x
            x = blur(x, kernel if self.kernel is None else self.kernel)
        else:
            x = F.conv2d(x, weight, padding=1)
        out: Tensor = self.epilogue(x, w, noise, biased=early)
        return out


class ToRGB(nn.Module):
    """Features => image: a 1x1 convolution and a bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.gain = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) => (N, image channels, H, W)."""
        return F.conv2d(x, (self.weight * self.gain).to(x.dtype), self.bias.to(x.dtype))


class StyleGAN1(StyleBased):
    """StyleGAN1's generator: ``map`` is the mapping network, ``synthesize`` the synthesis network.

    Latents: ``w`` (N, layers, dim) in W+, ``const`` (N, C, 4, 4) in place of the learned constant, and noise maps.
    Layer 0 is the constant, 2l doubles the size and 2l + 1 follows it; style i and noise i drive layer i. The image
    comes from the last features alone. The constant starts as noise: instance normalisation would erase ones.

    Args:
        spec: what :func:`stylegan1_spec` makes.

    Raises:
        SpecError: if the spec is not one of a StyleGAN1.
    """

    fir: Tensor

    def __init__(self, spec: GeneratorSpec) -> None:
        options = StyleGAN1Options.from_mapping(spec.options, where="the options of a stylegan1")
        super().__init__(spec, options, stylegan1_spec)
        if len(options.blur) % 2 == 0:
            raise SpecError(f"The low-pass filter of a stylegan1 has an odd number of taps, not {len(options.blur)}.")
        w_dim, widths, sizes = self._styles.dim, self._widths, self._sizes
        self.options = options
        self.first = Epilogue(widths[0], w_dim, sizes[0], options)
        convs = [StyledConv(widths[0], widths[0], w_dim, sizes[0], options, up=False)]
        for (inputs, outputs), size in zip(itertools.pairwise(widths), sizes[1:]):
            convs.append(StyledConv(inputs, outputs, w_dim, size, options, up=True))
            convs.append(StyledConv(outputs, outputs, w_dim, size, options, up=False))
        self.convs = nn.ModuleList(convs)
        self.to_rgb = ToRGB(widths[-1], spec.channels)
        self.register_buffer("fir", fir_kernel(options.blur), persistent=False)
        self.register_buffer("w_avg", torch.full((self._styles.layers, w_dim), math.nan))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        w, maps = latents["w"], self._noise(latents, noise)
        x = self.first(self._start(latents), w[:, 0], maps[0])
        for i, conv in enumerate(self.convs, start=1):
            x = conv(x, w[:, i], maps[i], self.fir)
        image: Tensor = self.to_rgb(x)
        return image.tanh() if self.options.tanh else image

    def noise_maps(self) -> list[Tensor]:
        """The maps (H, W) stored with the weights, one for each layer."""
        return [module.noise_const for module in self.modules() if isinstance(module, Epilogue)]

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is a StyleGAN1 in a format that is known; see `ganenc_plugin_stylegan.stylegan1_names`."""
        return stylegan1_formats.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*stylegan1_formats.convert(checkpoint, cls))
