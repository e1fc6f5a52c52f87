"""PGGAN (Karras et al., 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation")."""

from __future__ import annotations

import itertools
import math

import torch
from ganenc.encoders import Conv, normalise_second_moment
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_pggan import formats
from ganenc_plugin_pggan.layers import FirstLevel, UpConv
from ganenc_plugin_pggan.specs import PGGANOptions, level_sizes, pggan_layout

__all__ = ["PGGAN"]


class PGGAN(Generator):
    """PGGAN's generator.

    Latents: ``z`` (N, dim) and, where labels matter, ``c``: rows (N, classes). Noise is not used.
    Convolution 0 is at the first level, 2l - 1 enlarges to level l, and 2l follows it there.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        self.options = PGGANOptions.from_mapping(spec.options, where="the options of a pggan")
        sizes = level_sizes(spec.size, self.options.lod)
        known = spec.resolution_channels or {}
        fits = spec.layout == pggan_layout(spec.prior.dim, spec.classes)
        if not fits or not known.keys() >= {min(size) for size in sizes}:
            raise SpecError(
                "A pggan has a vector `z`, a condition `c` where it has classes, and `resolution_channels` at each"
                " level; see pggan_spec()."
            )
        widths = [known[min(size)] for size in sizes]
        per_place = self.options.bias_per_place
        self.first = FirstLevel(spec.prior.dim + spec.classes, widths[0], sizes[0], bias_per_place=per_place)
        convs: list[nn.Module] = [Conv(widths[0], widths[0], 3)]
        for narrow, wide in itertools.pairwise(widths):
            convs += [UpConv(narrow, wide), Conv(wide, wide, 3)]
        self.convs = nn.ModuleList(convs)
        drawn = widths[-2:] if self._fading else widths[-1:]
        self.to_rgb = nn.ModuleList(Conv(width, spec.channels, 1, gain=1.0) for width in drawn)

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => rows (N, classes)."""
        return self.label_rows(labels)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]. There is no noise, so ``noise`` changes nothing."""
        x = latents["z"].to(self.dtype)
        if self.spec.classes:
            x = torch.cat([x, latents["c"].to(self.dtype)], dim=1)
        if self.options.normalise_z:
            x = self._normalise(x, self.options.epsilon_z)
        x = before = self._activate(self.convs[0](self._activate(self.first(x))))
        for index in range(1, len(self.convs), 2):
            before = x
            x = self._activate(self.convs[index](x))
            x = self._activate(self.convs[index + 1](x))
        image: Tensor = self.to_rgb[-1](x)
        if self._fading:
            lower = F.interpolate(self.to_rgb[0](before), scale_factor=2, mode="nearest")
            image = torch.lerp(image, lower, self.options.lod % 1)
        if self.options.lod >= 1:
            image = F.interpolate(image, self.spec.size, mode="nearest")
        return image.tanh() if self.options.tanh else image

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is a PGGAN in a format that is known; see `ganenc_plugin_pggan.names`."""
        return formats.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*formats.convert(checkpoint, cls))

    @property
    def _fading(self) -> bool:
        """Whether the last level is being faded in, so that the image is partly that of the level below."""
        return self.options.lod % 1 > 0

    def _activate(self, x: Tensor) -> Tensor:
        """Leaky ReLU, then the norm; ``x`` is overwritten."""
        x = F.leaky_relu(x, self.options.slope, inplace=True)
        return self._normalise(x) if self.options.pixel_norm else x

    def _normalise(self, x: Tensor, epsilon: float | None = None) -> Tensor:
        """Over the channels."""
        epsilon = epsilon or self.options.epsilon
        if self.options.epsilon_to == "square":
            return normalise_second_moment(x, epsilon)
        return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) / math.sqrt(x.shape[1]) + epsilon)
