"""lucidrains' StyleGAN2 (stylegan2-pytorch), a network of its own: blocks with one style each, and one map of noise.

Unlike NVIDIA's, it enlarges bilinearly, before it convolves, adds noise through a weight and a bias for each channel,
and sums its image before that is enlarged and blurred. Not in paper.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any

import torch
from einops import rearrange
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_stylegan.layers import modulated_conv, modulated_sum
from ganenc_plugin_stylegan.specs import LucidrainsOptions, lucidrains_spec
from ganenc_plugin_stylegan.style_based import StyleBased

__all__ = ["LucidrainsStyleGAN2"]

SLOPE = 0.2
NOISE_SEED = 0x6E6F6973
HEADS, ATTENTION_WIDTH = 8, 512
"""Of the published attention, which has no options."""
_ATTENTION = {
    "gain": "0.fn.norm.g", "shift": "0.fn.norm.b", "last_gain": "1.fn.norm.g", "last_shift": "1.fn.norm.b",
    "query.weight": "0.fn.fn.to_q.weight", "place.weight": "0.fn.fn.to_kv.net.0.weight",
    "both.weight": "0.fn.fn.to_kv.net.1.weight",
    **{f"{own}.{leaf}": f"{theirs}.{leaf}" for leaf in ("weight", "bias")
       for own, theirs in (("out", "0.fn.fn.to_out"), ("wide", "1.fn.fn.0"), ("narrow", "1.fn.fn.2"))},
}  # fmt: skip
_PATTERN = re.compile(r"(|.*\.)(GE?)\.blocks\.\d+\.to_style[12]\.(?:weight|bias)")


class Vectorizer(nn.Module):
    """z => w: layers whose weights and biases are multiplied by a learning rate, on z of length 1."""

    def __init__(self, dim: int, layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.lr_multiplier = lr_multiplier
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        for layer in self.layers:
            nn.init.normal_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(N, dim) => (N, dim); there are no labels."""
        x = F.normalize(z, dim=1)
        for layer in self.layers:
            weight, bias = (layer.get_parameter(name) * self.lr_multiplier for name in ("weight", "bias"))
            x = F.leaky_relu(F.linear(x, weight, bias), SLOPE)
        return x


class ToRGB(nn.Module):
    """Features => image, on top of that of the level below; enlarged and blurred but at the last level."""

    f: Tensor | None
    """The taps of its blur; None without one."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, up: bool, blur: bool) -> None:
        super().__init__()
        self.to_style = nn.Linear(w_dim, inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        nn.init.normal_(self.conv.weight, std=0.1 / math.sqrt(inputs))  # so that first images keep near their range
        self.up = up
        self.register_buffer("f", torch.tensor([1.0, 2.0, 1.0]) if up and blur else None)

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None) -> Tensor:
        """(N, in, H, W), (N, w_dim), (N, image channels, H, W) => (N, image channels, H, W), or twice the size."""
        image = modulated_sum(x, self.conv.weight, self.to_style(w) + 1)
        image = image if below is None else image + below
        if self.up:
            image = _enlarged(image)
        if self.f is None:
            return image
        kernel = torch.outer(self.f, self.f)
        kernel = (kernel / kernel.abs().sum()).to(image.dtype).expand(image.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel, groups=image.shape[1])


class Block(nn.Module):
    """Two modulated convolutions, noise and leaky ReLUs, and a layer that makes an image."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, up: bool, to_rgb: ToRGB) -> None:
        super().__init__()
        self.up = up
        self.to_style1, self.to_style2 = nn.Linear(w_dim, inputs), nn.Linear(w_dim, outputs)
        self.to_noise1, self.to_noise2 = nn.Linear(1, outputs), nn.Linear(1, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, bias=False)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="leaky_relu")
        self.to_rgb = to_rgb

    def forward(self, x: Tensor, w: Tensor, noise: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, in, H, W), (N, w_dim), noise (N or 1, 1, size, size), the image below => features, image."""
        x = _enlarged(x) if self.up else x
        noise = noise[:, 0, : x.shape[2], : x.shape[3], None].to(x.dtype)
        for style, spread, conv in (
            (self.to_style1, self.to_noise1, self.conv1),
            (self.to_style2, self.to_noise2, self.conv2),
        ):
            # Rows and columns of the noise swap, as published.
            x = modulated_conv(x, conv.weight, style(w) + 1) + spread(noise).permute(0, 3, 2, 1)
            x = F.leaky_relu(x, SLOPE)
        return x, self.to_rgb(x, w, below)


class Attention(nn.Module):
    """Attention over all places, in linear time, and two layers for each place; both see normalised channels, and are
    added to what they are given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain, self.last_gain = (nn.Parameter(torch.ones(1, channels, 1, 1)) for _ in range(2))
        self.shift, self.last_shift = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))
        self.query = nn.Conv2d(channels, ATTENTION_WIDTH, 1, bias=False)
        self.place = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.both = nn.Conv2d(channels, 2 * ATTENTION_WIDTH, 1, bias=False)
        self.out = nn.Conv2d(ATTENTION_WIDTH, channels, 1)
        self.wide, self.narrow = nn.Conv2d(channels, 2 * channels, 1), nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H, W)."""
        seen = _normalised(x, self.gain, self.shift)
        keys, values = self.both(self.place(seen)).chunk(2, dim=1)
        queries, keys, values = (
            rearrange(one, "n (heads c) h w -> n heads c (h w)", heads=HEADS)
            for one in (self.query(seen), keys, values)
        )
        found = values @ keys.softmax(-1).mT @ (queries.softmax(-2) * (ATTENTION_WIDTH // HEADS) ** -0.5)
        x = x + self.out(F.gelu(rearrange(found, "n heads c (h w) -> n (heads c) h w", h=x.shape[2])))
        seen = _normalised(x, self.last_gain, self.last_shift)
        return x + self.narrow(F.leaky_relu(self.wide(seen), SLOPE))


class LucidrainsStyleGAN2(StyleBased):
    """lucidrains' generator: ``map`` is the style network, ``synthesize`` the network of the images, from 0 to 1.

    Latents: ``w`` (N, blocks, dim) in W+, ``const`` (N, C, 4, 4) where it is learned, and one map of noise of the
    images' size, uniform from 0 to 1, of which each level takes the corner. ``none`` is noise of zeros.
    """

    noise_const: Tensor

    def __init__(self, spec: GeneratorSpec) -> None:
        options = LucidrainsOptions.from_mapping(spec.options, where="the options of a stylegan2-lucidrains")
        super().__init__(spec, options, partial(lucidrains_spec, options=options), learned=options.learned_const)
        w_dim, widths = self._styles.dim, self._widths
        if spec.prior.dim != w_dim or spec.classes or spec.size[0] != spec.size[1]:
            raise SpecError("A stylegan2-lucidrains has square images, no classes, and z as long as w.")
        self.mapping = Vectorizer(w_dim, options.mapping_layers, options.mapping_lr_multiplier)
        if not options.learned_const:
            self.to_const = nn.ConvTranspose2d(w_dim, widths[0], 4, bias=False)
        self.initial_conv = nn.Conv2d(widths[0], widths[0], 3, padding=1) if options.initial_conv else nn.Identity()
        blocks = []
        for level, (inputs, outputs) in enumerate(zip([widths[0], *widths], widths)):
            last = level == len(widths) - 1
            to_rgb = ToRGB(outputs, spec.channels, w_dim, up=not last, blur=options.blur)
            blocks.append(Block(inputs, outputs, w_dim, up=level > 0, to_rgb=to_rgb))
        self.blocks = nn.ModuleList(blocks)
        before = [widths[0], *widths]
        self.attention = nn.ModuleDict({str(level): Attention(before[level]) for level in options.attention})
        self.register_buffer("noise_const", torch.rand(spec.size))
        self.register_buffer("w_avg", torch.full((w_dim,), math.nan))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [0, 1]."""
        w, (given,) = latents["w"].to(self.dtype), self._noise(latents, noise)
        if isinstance(noise, int) or noise == "random":
            assert given is not None
            given = (torch.erf(given / math.sqrt(2)) + 1) / 2 if latents.noise() is None else given  # uniform
        maps = torch.zeros_like(self.noise_const)[None, None] if given is None else given
        start = self.to_const(w.mean(1)[:, :, None, None]) if "to_const" in self._modules else self._start(latents)
        x, image = self.initial_conv(start), None
        for level, block in enumerate(self.blocks):
            x = self.attention[str(level)](x) if str(level) in self.attention else x
            x, image = block(x, w[:, level], maps, image)
        assert image is not None
        return image

    def noise_maps(self) -> list[Tensor]:
        """The map (H, W), drawn from a fixed seed where a file has none."""
        return [self.noise_const]

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is one of stylegan2-pytorch's trainings."""
        return any(_PATTERN.fullmatch(name) for name in checkpoint.tensors)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds, the averaged one where it is there; the learning rate of its style
        network is read from the ``.config.json`` of its folder."""
        return cls.from_tensors(*_File(checkpoint).read(cls))


class _File:
    """The networks in a file: the averaged ones, SE and GE, or S and G."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        found = {match.groups() for match in map(_PATTERN.fullmatch, checkpoint.tensors) if match}
        prefixes = sorted({prefix for prefix, _ in found})
        above = checkpoint.averaged(prefixes)
        kind = "E" if (above, "GE") in found else ""
        self.network, self.styles = f"{above}G{kind}.", f"{above}S{kind}."
        checkpoint.averaged([above])
        others = "G|S|" if kind else "GE|SE|"
        checkpoint.spare(rf"{re.escape(above)}(?:{others}D|D_aug|D_cl|pl_mean)\..*")

    def read(self, family: type[LucidrainsStyleGAN2]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
        """The spec and the weights by our names."""
        if any(not self._holds(f"{self.network}attns.{level}.0.fn.fn.to_kv.net.") for level in self._levels("attns")):
            self.checkpoint.fail(
                "its attention is that of an older version, which is not read",
                "train it with a newer stylegan2-pytorch",
            )
        try:
            spec = self._spec()
            with torch.device("meta"):
                wanted = family(spec).state_dict()
        except (SpecError, ValidationError) as error:
            self.checkpoint.fail(f"its StyleGAN2 cannot be built ({' '.join(str(error).split()).rstrip('.')})")
        return spec, {name: self._find(name, tuple(like.shape)) for name, like in wanted.items()}

    def _spec(self) -> GeneratorSpec:
        levels = max(self._levels("blocks"), default=0) + 1
        found = re.compile(rf"{re.escape(self.styles)}net\.(\d{{1,3}})\.")
        layers = [int(match.group(1)) for match in map(found.match, self.checkpoint.tensors) if match]
        width = self._shape("blocks.0.to_style1.weight", 2)[1]
        options = LucidrainsOptions(
            mapping_layers=max(layers, default=0) // 2 + 1,
            mapping_lr_multiplier=self._learning_rate(),
            initial_conv=self._holds(f"{self.network}initial_conv."),
            blur=any(
                name.startswith(self.network) and name.endswith("upsample.1.f") for name in self.checkpoint.tensors
            ),
            learned_const=not self._holds(f"{self.network}to_initial_block."),
            attention=tuple(self._levels("attns")),
        )
        return lucidrains_spec(
            (4 << (levels - 1),) * 2,
            {4 << level: self._shape(f"blocks.{level}.conv2.weight", 4)[0] for level in range(levels)},
            z_dim=width,
            w_dim=width,
            image_channels=self._shape("blocks.0.to_rgb.conv.weight", 4)[0],
            options=options,
        )

    def _learning_rate(self) -> float:
        """That of the style network, which the folder's settings tell."""
        folder = self.checkpoint.path if self.checkpoint.container == "folder" else self.checkpoint.path.parent
        names = (".config.json", "config.json")
        if not any((folder / name).is_file() for name in names):
            self.checkpoint.fail(
                "there is no .config.json beside it to tell the learning rate of its style network",
                f'put that of its training into {folder}, or one with {{"lr_mlp": 0.1}}, which is the usual one',
            )
        path, settings = self.checkpoint.beside(*names)
        told: Any = settings.get("lr_mlp", 0.1) if isinstance(settings, dict) else None
        if not isinstance(told, float | int) or not 0 < told <= 1e6:
            self.checkpoint.fail(f"the lr_mlp in {path} is no learning rate", "correct it; the usual one is 0.1")
        return float(told)

    def _find(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor that goes by one of our names."""
        if name == "w_avg":
            return torch.full(shape, math.nan)
        if name == "noise_const":
            return torch.rand(shape, generator=torch.Generator().manual_seed(NOISE_SEED))
        if name == "const":
            return self.checkpoint.tensor(f"{self.network}initial_block", (1, *shape))[0].clone()
        if name.startswith("mapping.layers."):
            _, _, index, leaf = name.split(".")
            return self.checkpoint.tensor(f"{self.styles}net.{2 * int(index)}.{leaf}", shape).clone()
        if name.startswith("attention."):
            _, level, part = name.split(".", 2)
            return self.checkpoint.tensor(f"{self.network}attns.{level}.{_ATTENTION[part]}", shape).clone()
        theirs = name.replace("to_rgb.f", "to_rgb.upsample.1.f").replace("to_const", "to_initial_block")
        return self.checkpoint.tensor(self.network + theirs, shape).clone()

    def _levels(self, container: str) -> list[int]:
        found = re.compile(rf"{re.escape(self.network)}{container}\.(\d{{1,2}})\.")
        return sorted({int(match.group(1)) for match in map(found.match, self.checkpoint.tensors) if match})

    def _holds(self, start: str) -> bool:
        return any(name.startswith(start) for name in self.checkpoint.tensors)

    def _shape(self, name: str, axes: int) -> tuple[int, ...]:
        return tuple(self.checkpoint.tensor(self.network + name, (None,) * axes).shape)


def _normalised(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Each place's channels."""
    var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * gain + shift


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
