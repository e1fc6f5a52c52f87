"""StyleGAN2 (Karras et al., 2020, "Analyzing and Improving the Image Quality of StyleGAN"), in plain torch."""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_stylegan import stylegan2_formats
from ganenc_plugin_stylegan.layers import FullyConnected, fir_kernel, modulated_sum, styled_conv, upsample
from ganenc_plugin_stylegan.specs import StyleGAN2Options, stylegan2_spec
from ganenc_plugin_stylegan.style_based import StyleBased
from ganenc_plugin_stylegan.stylegan2_writing import WRITTEN, written

__all__ = ["StyleGAN2"]


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU: one layer of the synthesis network."""

    noise_const: Tensor
    kernel: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int], *, up: bool, own: Tensor | None = None
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.gain = 1 / math.sqrt(inputs * 9)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.up = up
        self.register_buffer("kernel", own)

    def forward(
        self, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor, clamp: float | None, modulation: str | None
    ) -> Tensor:
        """(N, in, H, W), (N, w_dim), (N or 1, 1, H', W') => (N, out, H', W')."""
        noise = None if noise is None else noise.to(x.dtype) * self.noise_strength.to(x.dtype)
        kernel = kernel if self.kernel is None else self.kernel
        up = kernel if self.up else None
        styles = self.affine(w) * self.gain
        return styled_conv(x, self.weight, styles, self.bias, noise, up=up, clamp=clamp, modulation=modulation)


class ToRGB(nn.Module):
    """Features => image: a modulated 1x1 convolution without demodulation, and a bias."""

    kernel: Tensor | None

    def __init__(self, inputs: int, outputs: int, w_dim: int, own: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("kernel", own)
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.gain = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        """(N, in, H, W), (N, w_dim) => (N, image channels, H, W)."""
        x = modulated_sum(x, self.weight, self.affine(w) * self.gain)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if clamp is None else x.clamp(-clamp, clamp)


class StyleGAN2(StyleBased):
    """StyleGAN2's generator: ``map`` is the mapping network, ``synthesize`` the synthesis network.

    Latents: ``w`` (N, layers, dim) in W+, ``const`` (N, C, 4, 4) in place of the learned constant, and noise maps.
    Style i drives convolution i; the image layers take the style that follows their block's last convolution.
    """

    alternatives: ClassVar = {"modulation": ("features", "weights")}
    fir: Tensor
    modulation: str | None = None
    """What styles are multiplied into; see `styled_conv`."""

    def __init__(self, spec: GeneratorSpec) -> None:
        options = StyleGAN2Options.from_mapping(spec.options, where="the options of a stylegan2")
        super().__init__(spec, options, stylegan2_spec)
        self.options = options
        if len(options.fir) % 2:
            raise SpecError(f"The filter of a stylegan2 has an even number of taps, not {len(options.fir)}.")
        w_dim, widths, sizes = self._styles.dim, self._widths, self._sizes
        convs = [StyledConv(widths[0], widths[0], w_dim, sizes[0], up=False)]

        def own() -> Tensor | None:
            return fir_kernel(options.fir) if options.own_filters else None

        for inputs, outputs, size in zip(widths, widths[1:], sizes[1:]):
            convs.append(StyledConv(inputs, outputs, w_dim, size, up=True, own=own()))
            convs.append(StyledConv(outputs, outputs, w_dim, size, up=False))
        self.convs = nn.ModuleList(convs)
        with_image = widths if options.architecture == "skip" else widths[-1:]
        self.to_rgb = nn.ModuleList(
            ToRGB(width, spec.channels, w_dim, own() if level else None) for level, width in enumerate(with_image)
        )
        if options.architecture == "resnet":
            pairs = list(itertools.pairwise(widths))
            self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairs)
        self.register_buffer("fir", fir_kernel(options.fir), persistent=False)
        self.register_buffer("w_avg", torch.full((w_dim,), math.nan))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        w, maps = latents["w"], self._noise(latents, noise)
        conv, clamp, how = list(self.convs), self.options.clamp, (self.fir, self.options.clamp, self.modulation)
        x = conv[0](self._start(latents), w[:, 0], maps[0], *how)
        if self.options.architecture != "skip":
            return self._synthesize_plain(x, w, maps)
        image: Tensor = self.to_rgb[0](x, w[:, 1], clamp)
        for level in range(1, len(self.to_rgb)):
            i = 2 * level - 1
            x = conv[i](x, w[:, i], maps[i], *how)
            x = conv[i + 1](x, w[:, i + 1], maps[i + 1], *how)
            kernel = self.to_rgb[level].kernel
            image = upsample(image, self.fir if kernel is None else kernel)
            image = image + self.to_rgb[level](x, w[:, i + 2], clamp)
        return image

    def _synthesize_plain(self, x: Tensor, w: Tensor, maps: list[Tensor | None]) -> Tensor:
        """The architectures whose image comes from the last features alone; ``resnet`` adds a bypass to each block."""
        conv, clamp, how = list(self.convs), self.options.clamp, (self.fir, self.options.clamp, self.modulation)
        residual = self.options.architecture == "resnet"
        for level in range(1, len(conv) // 2 + 1):
            i = 2 * level - 1
            before = x
            x = conv[i](x, w[:, i], maps[i], *how)
            x = conv[i + 1](x, w[:, i + 1], maps[i + 1], *how)
            if residual:
                weight = self.skips[level - 1].get_parameter("weight")
                bypass = F.conv2d(upsample(before, self.fir), weight / math.sqrt(weight.shape[1]))
                x = (x + bypass) * math.sqrt(0.5)
        image: Tensor = self.to_rgb[0](x, w[:, -1], clamp)
        return image

    def noise_maps(self) -> list[Tensor]:
        """The maps (H, W) stored with the weights, one for each convolution."""
        return [module.noise_const for module in self.modules() if isinstance(module, StyledConv)]

    def to_format(self, name: str) -> dict[str, Any]:
        """The tensors of rosinality's file (``rosinality``), or of NVIDIA's PyTorch network (``nvidia-state``)."""
        options, spec = self.options, self.spec
        odd = {
            "a learning rate of its mapping network other than 0.01": options.mapping_lr_multiplier != 0.01,
            "labels normalised together with z": spec.classes and options.label_norm == "joint",
            "classes": spec.classes and name == "rosinality",
            "filters of each layer's own": options.own_filters,
            "z and w of two lengths": spec.prior.dim != self._styles.dim and name == "rosinality",
            "another architecture than skip": options.architecture != "skip" and name == "rosinality",
        }
        lacking = [what for what, has in odd.items() if has]
        if name not in WRITTEN or lacking:
            return super().to_format(
                f"{name}, which knows no {lacking[0]}"
                if lacking and name in WRITTEN
                else f"{name}, only as {' and '.join(WRITTEN)}"
            )
        mean = self.center()["w"][0, 0]
        return written(name, self.state_dict(), mean, self.fir, len(self._sizes))

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is a StyleGAN2 in a format that is known; see `ganenc_plugin_stylegan.stylegan2_names`."""
        return stylegan2_formats.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*stylegan2_formats.convert(checkpoint, cls))
