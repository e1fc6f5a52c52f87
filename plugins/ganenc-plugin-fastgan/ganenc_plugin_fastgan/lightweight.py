"""lightweight-gan (lucidrains), after FastGAN (Liu et al., 2021), as its versions from 0.20 on build it."""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_fastgan import lightweight_formats as formats
from ganenc_plugin_fastgan.noise import Noise, Noisy
from ganenc_plugin_fastgan.specs import BASE, LightweightGANOptions, lightweight_gan_spec, sides

__all__ = ["LightweightGAN"]

EXCITING = (16, 32, 64, 128)
"""The resolutions whose features scale the channels of those 8 times larger."""
FREQUENCIES = 8


class Blur(nn.Module):
    """Blur by a kernel along both axes, which sums to 1, mirrored at the edges. The stored kernel counts."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor([1.0, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H, W)."""
        kernel = torch.outer(self.kernel, self.kernel)
        kernel = (kernel / kernel.abs().sum()).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel.to(x.dtype), groups=x.shape[1])


class Context(nn.Module):
    """Features pooled where attention finds them => a factor for each channel (Cao et al., 2020)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(inputs, 1, 1)
        self.net = _factors(inputs, max(3, outputs // 2), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) => (N, outputs, 1, 1)."""
        places = self.place(x).flatten(2).softmax(dim=-1)
        pooled = x.flatten(2) @ places.mT
        made: Tensor = self.net(pooled[..., None])
        return made


class Frequencies(nn.Module):
    """Frequencies of each channel => a factor for each channel (Qin et al., 2021). The stored waves count."""

    waves: Tensor

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.register_buffer("waves", _waves(inputs, side)[None])
        self.net = _factors(inputs, max(3, outputs // 4), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, side, side) => (N, outputs, 1, 1)."""
        made: Tensor = self.net((x * self.waves).sum((2, 3), keepdim=True))
        return made


class Attention(nn.Module):
    """Attention over all places in linear time, and over the 3x3 places around each; both see normalised features.

    Args:
        channels: of the features.
        width: channels of all heads.
        heads: their number.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.far_query = nn.Conv2d(channels, width, 1, bias=False)
        self.far_place = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.far_both = nn.Conv2d(channels, 2 * width, 1, bias=False)
        self.near_query = nn.Conv2d(channels, width, 1, bias=False)
        self.near_both = nn.Conv2d(channels, 2 * width, 1, bias=False)
        self.out = nn.Conv2d(2 * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H, W), to be added."""
        var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt() * self.gain + self.shift
        return self.out(torch.cat([F.gelu(self._far(x)), self._near(x)], dim=1))

    def _far(self, x: Tensor) -> Tensor:
        keys, values = self.far_both(self.far_place(x)).chunk(2, dim=1)
        queries, keys, values = (
            rearrange(one, "n (heads c) h w -> n heads c (h w)", heads=self.heads)
            for one in (self.far_query(x), keys, values)
        )
        context = values @ keys.softmax(dim=-1).mT
        found = context @ (queries.softmax(dim=-2) * self.scale)
        return rearrange(found, "n heads c (h w) -> n (heads c) h w", h=x.shape[2])

    def _near(self, x: Tensor) -> Tensor:
        keys, values = (
            rearrange(F.unfold(one, 3, padding=1), "n (heads c k) p -> n heads p k c", heads=self.heads, k=9)
            for one in self.near_both(x).chunk(2, dim=1)
        )
        queries = rearrange(self.near_query(x), "n (heads c) h w -> n heads (h w) c 1", heads=self.heads)
        weights = (keys @ (queries * self.scale)).softmax(dim=-2)
        return rearrange((weights * values).sum(-2), "n heads (h w) c -> n (heads c) h w", h=x.shape[2])


class Level(nn.Module):
    """One resolution: attention, twice the size, blur, a convolution with noise, batch norm and a gate (GLU).

    Args:
        inputs: channels in.
        outputs: channels out.
        side: height and width of what comes out.
        options: of the whole network.
        excites: channels of the features, 8 times larger, that ``excite`` finds factors for; 0 if there are none.
    """

    def __init__(self, inputs: int, outputs: int, side: int, options: LightweightGANOptions, excites: int) -> None:
        super().__init__()
        self.options = options
        attends = side // 2 in options.attention
        self.attention = Attention(inputs, options.attention_width, options.heads) if attends else None
        middle = inputs
        self.enlarge = None
        if options.upsample == "shuffle":
            middle = outputs if options.widen == "shuffle" else inputs
            self.enlarge = nn.Conv2d(inputs, 4 * middle, 1)
        self.blur = Blur() if options.blur else None
        self.conv = nn.Conv2d(middle, 2 * outputs, options.kernel)
        self.noise = Noise(side) if options.noise else None
        self.norm = nn.BatchNorm2d(2 * outputs)
        self.excite: nn.Module | None = None
        if excites:
            frequency = options.excitation == "frequency"
            self.excite = Frequencies(outputs, excites, side) if frequency else Context(outputs, excites)

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """(N, inputs, H, W), (N or 1, 1, 2H, 2W) => (N, outputs, 2H, 2W)."""
        if self.attention is not None:
            x = x + self.attention(x)
        if self.enlarge is not None:
            x = F.pixel_shuffle(F.silu(self.enlarge(x)), 2)
        else:
            aligned = None if self.options.upsample == "nearest" else False
            x = F.interpolate(x, scale_factor=2, mode=self.options.upsample, align_corners=aligned)
        if self.blur is not None:
            x = self.blur(x)
        before, after = self.options.kernel // 2, (self.options.kernel - 1) // 2
        x = self.conv(F.pad(x, (before, after, before, after)))
        if self.noise is not None:
            x = self.noise(x, noise)
        return F.glu(self.norm(x), dim=1)


class LightweightGAN(Noisy):
    """lightweight-gan's generator.

    Latents: ``z`` (N, dim), and one noise map (N, 1, side, side) for each resolution from 8 pixels. Images are
    nominally in [0, 1], to which the published program clamps them; their fourth channel, if there is one, is opacity.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        where = "the options of a lightweight-gan"
        self.options = options = LightweightGANOptions.from_mapping(spec.options, where=where)
        known, z_dim, size = spec.resolution_channels or {}, spec.prior.dim, spec.size[0]
        wanted = lightweight_gan_spec(size, known, z_dim=z_dim, options=options)
        if (spec.size, spec.layout, spec.classes) != (wanted.size, wanted.layout, 0):
            raise SpecError(
                "The size, layout or classes are not those of a lightweight-gan; see lightweight_gan_spec()."
            )
        self.first = nn.Sequential(
            nn.ConvTranspose2d(z_dim, 2 * known[BASE], BASE), nn.BatchNorm2d(2 * known[BASE]), nn.GLU(1)
        )
        exciting = [side for side in EXCITING if 8 * side <= size]
        self.levels = nn.ModuleList(
            Level(known[before], known[side], side, options, known[8 * side] if side in exciting else 0)
            for before, side in itertools.pairwise(sides(size))
        )
        self.to_image = nn.Conv2d(known[size], spec.channels, 3, padding=1)
        self._draw()

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [0, 1]."""
        maps = self._maps(latents, noise) or [None] * len(self.levels)
        x = F.normalize(self.first(latents["z"][:, :, None, None]), dim=1)
        factors: list[Tensor | None] = [None] * (len(self.levels) + 3)
        for index, level in enumerate(self.levels):
            x, factor = level(x, maps[index]), factors[index]
            if level.excite is not None:
                factors[index + 3] = level.excite(x)
            if factor is not None:
                x = x * factor
        images: Tensor = self.to_image(x)
        return images

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the tensors are named as lightweight-gan names them."""
        return bool(formats.prefixes(checkpoint))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*formats.convert(checkpoint, cls))


def _factors(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, middle, 1), nn.LeakyReLU(0.1), nn.Conv2d(middle, outputs, 1), nn.Sigmoid())


def _waves(channels: int, side: int) -> Tensor:
    """The cosines (channels, side, side) that each channel is weighed by: the first of 16 equal parts by the lowest
    frequency along the width, and so on to the eighth, then along the height; channels that are left over by none."""
    places = torch.arange(side, dtype=torch.float64) + 0.5
    along = [
        torch.cos(math.pi * wave * places / side) * math.sqrt((2 if wave else 1) / side) for wave in range(FREQUENCIES)
    ]
    waves = [torch.outer(along[0], one) for one in along] + [torch.outer(one, along[0]) for one in along]
    part = channels // len(waves)
    made = torch.stack(waves).repeat_interleave(part, dim=0)
    return F.pad(made, (0, 0, 0, 0, 0, channels - len(made))).float()
