"""StyleGAN2 (Karras et al., 2020, "Analyzing and Improving the Image Quality of StyleGAN"), in plain torch."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

import torch
from ganenc.generator import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Map, Noise, Prior, Spec, Styles
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_stylegan.layers import (
    FullyConnected,
    fir_kernel,
    modulated_conv,
    normalise_second_moment,
    upsample,
)

if TYPE_CHECKING:
    from ganenc.checkpoint import Checkpoint

__all__ = ["StyleGAN2", "StyleGAN2Options", "stylegan2_spec"]

SQRT2 = math.sqrt(2)


class StyleGAN2Options(Spec):
    """What a StyleGAN2 needs besides its layout."""

    mapping_layers: PositiveInt = Field(8, description="fully connected layers of the mapping network")
    mapping_dim: PositiveInt | None = Field(None, description="width of the mapping network; that of w by default")
    mapping_lr_multiplier: float = Field(0.01, gt=0, description="learning rate of the mapping network, relative")
    fir: tuple[float, ...] = Field((1.0, 3.0, 3.0, 1.0), description="taps of the low-pass filter, an even number")
    architecture: Literal["skip", "resnet", "orig"] = Field("skip", description="how the image is gathered")
    clamp: float | None = Field(None, description="bound on the features, for half precision; none by default")
    label_dim: PositiveInt | None = Field(None, description="length of the embedded label; that of w by default")
    label_norm: Literal["own", "joint"] = Field(
        "own", description="whether the embedded label is normalised by itself (2020) or together with z (2019)"
    )


def stylegan2_spec(
    size: tuple[int, int],
    channels: dict[int, int],
    *,
    z_dim: int = 512,
    w_dim: int = 512,
    base: tuple[int, int] = (4, 4),
    image_channels: int = 3,
    classes: int = 0,
    options: StyleGAN2Options | None = None,
    licence: str = "unknown",
) -> GeneratorSpec:
    """The spec of a StyleGAN2.

    Args:
        size: height and width of the images: ``base`` times a power of two.
        channels: feature channels at each resolution (shorter side), from the constant's up to the images'.
        z_dim: length of z.
        w_dim: length of each style vector.
        base: height and width of the learned constant.
        image_channels: channels of the images.
        classes: number of labels; 0 where labels do not matter.
        options: what else differs from the published architecture.
        licence: licence of the weights.
    """
    levels = _levels(size, base)
    noise = [base] + [(base[0] << i, base[1] << i) for i in range(1, levels) for _ in range(2)]
    layout = (
        Styles(layers=2 * levels, dim=w_dim),
        Map(channels=channels[min(base)], height=base[0], width=base[1]),
        Noise(shapes=tuple((1, *shape) for shape in noise)),
    )
    return GeneratorSpec(
        family="stylegan2",
        size=size,
        channels=image_channels,
        prior=Prior(dim=z_dim),
        layout=layout,
        classes=classes,
        truncation="styles",
        resolution_channels=channels,
        options=(options or StyleGAN2Options()).model_dump(mode="json"),
        licence=licence,
    )


def _levels(size: tuple[int, int], base: tuple[int, int]) -> int:
    levels = round(math.log2(size[0] / base[0])) + 1
    if size != (base[0] << (levels - 1), base[1] << (levels - 1)):
        raise SpecError(
            f"A StyleGAN2 of {size[0]}x{size[1]} cannot start at {base[0]}x{base[1]}: it doubles each level."
        )
    return levels


class Mapping(nn.Module):
    """z and a label => w: the mapping network, f in the paper's Figure 1."""

    def __init__(self, spec: GeneratorSpec, options: StyleGAN2Options, w_dim: int) -> None:
        super().__init__()
        hidden, lr = options.mapping_dim or w_dim, options.mapping_lr_multiplier
        label_dim = (options.label_dim or w_dim) if spec.classes else 0
        self.joint = options.label_norm == "joint"
        self.embed = FullyConnected(spec.classes, label_dim) if spec.classes else None
        widths = [spec.prior.dim + label_dim, *[hidden] * (options.mapping_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            FullyConnected(a, b, activation="lrelu", lr_multiplier=lr) for a, b in itertools.pairwise(widths)
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(N, z_dim), rows (N, classes) => (N, w_dim)."""
        if self.embed is None:
            x = normalise_second_moment(z)
        elif self.joint:
            x = normalise_second_moment(torch.cat([z, self.embed(labels)], dim=1))
        else:
            x = torch.cat([normalise_second_moment(z), normalise_second_moment(self.embed(labels))], dim=1)
        for layer in self.layers:
            x = layer(x)
        return x


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU: one layer of the synthesis network."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, size: tuple[int, int], *, up: bool) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.gain = 1 / math.sqrt(inputs * 9)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor, clamp: float | None) -> Tensor:
        """(N, in, H, W), (N, w_dim), (N or 1, 1, H', W') => (N, out, H', W')."""
        x = modulated_conv(x, self.weight, self.affine(w) * self.gain, up=kernel if self.up else None)
        if noise is not None:
            x = x + noise.to(x.dtype) * self.noise_strength.to(x.dtype)
        x = F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], 0.2) * SQRT2
        return x if clamp is None else x.clamp(-clamp, clamp)


class ToRGB(nn.Module):
    """Features => image: a modulated 1x1 convolution without demodulation, and a bias."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.gain = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        """(N, in, H, W), (N, w_dim) => (N, image channels, H, W)."""
        x = modulated_conv(x, self.weight, self.affine(w) * self.gain, demodulate=False)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if clamp is None else x.clamp(-clamp, clamp)


class StyleGAN2(Generator):
    """StyleGAN2's generator: ``map`` is the mapping network, ``synthesize`` the synthesis network.

    Latents: ``w`` (N, layers, dim) in W+, ``const`` (N, C, 4, 4) in place of the learned constant, and noise maps.
    Style i drives convolution i; the image layers take the style that follows their block's last convolution.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        self.options = StyleGAN2Options.from_mapping(spec.options, where="the options of a stylegan2")
        styles, const = spec.part("w"), spec.part("const")
        if not isinstance(styles, Styles) or not isinstance(const, Map) or not spec.resolution_channels:
            raise SpecError(
                "A stylegan2 has styles `w`, a map `const` and `resolution_channels`; see stylegan2_spec()."
            )
        if len(self.options.fir) % 2:
            raise SpecError(f"The filter of a stylegan2 has an even number of taps, not {len(self.options.fir)}.")
        base = (const.height, const.width)
        sizes = [(base[0] << i, base[1] << i) for i in range(_levels(spec.size, base))]
        widths = [spec.resolution_channels[min(size)] for size in sizes]
        self.mapping = Mapping(spec, self.options, styles.dim)
        self.const = nn.Parameter(torch.randn(const.channels, *base))
        convs = [StyledConv(const.channels, widths[0], styles.dim, sizes[0], up=False)]
        for inputs, outputs, size in zip(widths, widths[1:], sizes[1:]):
            convs.append(StyledConv(inputs, outputs, styles.dim, size, up=True))
            convs.append(StyledConv(outputs, outputs, styles.dim, size, up=False))
        self.convs = nn.ModuleList(convs)
        with_image = widths if self.options.architecture == "skip" else widths[-1:]
        self.to_rgb = nn.ModuleList(ToRGB(width, spec.channels, styles.dim) for width in with_image)
        if self.options.architecture == "resnet":
            pairs = list(itertools.pairwise(widths))
            self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairs)
        self.register_buffer("fir", fir_kernel(self.options.fir), persistent=False)
        self.register_buffer("w_avg", torch.full((styles.dim,), math.nan))

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        """z (N, z_dim) => styles w (N, layers, dim), pulled towards the mean by ``truncation``."""
        w = self.mapping(z.to(self.dtype), self._rows(labels, len(z)))
        w = w[:, None].expand(-1, self._styles.layers, -1)
        if truncation != 1:
            pulled = torch.lerp(self._mean(), w, truncation)
            layers = self._styles.layers if truncation_layers is None else truncation_layers
            w = torch.cat([pulled[:, :layers], w[:, layers:]], dim=1)
        return Latents(self.spec.layout, {"w": w})

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        w = latents["w"]
        x = latents["const"] if "const" in latents else self.const.expand(len(w), -1, -1, -1)
        maps = self._noise(latents, noise, len(w))
        conv, clamp = list(self.convs), self.options.clamp
        x = conv[0](x.to(self.dtype), w[:, 0], maps[0], self.fir, clamp)
        if self.options.architecture != "skip":
            return self._synthesize_plain(x, w, maps)
        image = self.to_rgb[0](x, w[:, 1], clamp)
        for level in range(1, len(self.to_rgb)):
            i = 2 * level - 1
            x = conv[i](x, w[:, i], maps[i], self.fir, clamp)
            x = conv[i + 1](x, w[:, i + 1], maps[i + 1], self.fir, clamp)
            image = upsample(image, self.fir) + self.to_rgb[level](x, w[:, i + 2], clamp)
        return image

    def _synthesize_plain(self, x: Tensor, w: Tensor, maps: list[Tensor | None]) -> Tensor:
        """The architectures whose image comes from the last features alone; ``resnet`` adds a bypass to each block."""
        conv, clamp = list(self.convs), self.options.clamp
        residual = self.options.architecture == "resnet"
        for level in range(1, len(conv) // 2 + 1):
            i = 2 * level - 1
            before = x
            x = conv[i](x, w[:, i], maps[i], self.fir, clamp)
            x = conv[i + 1](x, w[:, i + 1], maps[i + 1], self.fir, clamp)
            if residual:
                skip = self.skips[level - 1]
                bypass = F.conv2d(upsample(before, self.fir), skip.weight / math.sqrt(skip.in_channels))
                x = (x + bypass) * math.sqrt(0.5)
        return self.to_rgb[0](x, w[:, -1], clamp)

    def default(self, name: str) -> Tensor | None:
        """The learned constant, for ``const``."""
        return self.const[None] if name == "const" else super().default(name)

    @torch.no_grad()
    def center(self, *, labels: Tensor | None = None) -> Latents:
        """The mean latents: the running mean that the file holds, or that of 10,000 draws where it has none."""
        if labels is not None or self.w_avg.isnan().any():
            return super().center(labels=labels)
        w = self.w_avg.expand(1, self._styles.layers, -1)
        return self.complete(Latents(self.spec.layout, {"w": w}))

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is a StyleGAN2 of NVIDIA's (PyTorch or TensorFlow), rosinality's or genforce's."""
        from ganenc_plugin_stylegan import stylegan2_formats

        return stylegan2_formats.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        from ganenc_plugin_stylegan import stylegan2_formats

        spec, tensors = stylegan2_formats.convert(checkpoint)
        generator = cls(spec)
        generator.load_state_dict(tensors)
        return generator

    @property
    def _styles(self) -> Styles:
        part = self.spec.part("w")
        assert isinstance(part, Styles)
        return part

    def _mean(self) -> Tensor:
        return self.center()["w"]

    def _rows(self, labels: Tensor | None, n: int) -> Tensor | None:
        """Labels as rows (N, classes) in the dtype of the weights."""
        if not self.spec.classes:
            return None
        if labels is None:
            raise LatentsError(f"This generator has {self.spec.classes} classes: give labels, integers (N,) or rows.")
        if labels.ndim == 1:
            if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.spec.classes:
                raise LatentsError(f"Labels are 0 to {self.spec.classes - 1}; got {sorted(set(labels.tolist()))}.")
            labels = F.one_hot(labels.long(), self.spec.classes)
        if labels.shape != (n, self.spec.classes):
            raise LatentsError(f"Labels are (N,) or (N, {self.spec.classes}) for N = {n}; got {tuple(labels.shape)}.")
        return labels.to(self.dtype)

    def _noise(self, latents: Latents, noise: NoiseChoice, n: int) -> list[Tensor | None]:
        """One map (N or 1, 1, H, W) for each convolution, or None."""
        given = latents.noise()
        if given is not None:
            return list(given)
        buffers = [conv.noise_const for conv in self.convs]
        if isinstance(noise, str):
            if noise == "const":
                return [buffer[None, None] for buffer in buffers]
            if noise == "none":
                return [None] * len(buffers)
            if noise == "random":
                return [torch.randn(n, 1, *b.shape, device=b.device) for b in buffers]
            raise LatentsError(f"Noise is 'const', 'random', 'none', a seed or a list of maps, not {noise!r}.")
        if isinstance(noise, int):
            rng = torch.Generator().manual_seed(noise)
            return [torch.randn(n, 1, *b.shape, generator=rng).to(b) for b in buffers]
        if len(noise) != len(buffers):
            raise LatentsError(f"This generator takes {len(buffers)} noise maps; {len(noise)} are given.")
        return list(noise)
