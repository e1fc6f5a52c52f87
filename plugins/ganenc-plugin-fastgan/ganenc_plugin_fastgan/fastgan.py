"""FastGAN (Liu et al., 2021, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis"),
and as Projected GANs (Sauer et al., 2021) build it, with labels too."""

from __future__ import annotations

import itertools
import math

from ganenc.encoders import ConditionalBatchNorm, conv_doubled, normalise_second_moment
from ganenc.foreign import Checkpoint
from ganenc.generators import NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, GeneratorSpec
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from ganenc_plugin_fastgan import fastgan_formats as formats
from ganenc_plugin_fastgan.noise import Noise, Noisy
from ganenc_plugin_fastgan.specs import BASE, FastGANOptions, fastgan_spec, sides

__all__ = ["FastGAN"]


class Block(nn.Module):
    """One resolution: pixels become four, then one or two convolutions with a gate (GLU), then the excitation.

    Args:
        inputs: channels in.
        outputs: channels out.
        side: height and width of what comes out.
        condition: length of what the norms are conditioned on; 0 for plain batch norms.
        single: whether there is one convolution, without noise.
        source: channels of the smaller features that scale these; 0 if none do.
    """

    def __init__(self, inputs: int, outputs: int, side: int, condition: int, *, single: bool, source: int) -> None:
        super().__init__()
        widths = [inputs] if single else [inputs, outputs]
        self.convs = nn.ModuleList(nn.Conv2d(width, 2 * outputs, 3, padding=1, bias=False) for width in widths)
        self.noises = nn.ModuleList([] if single else [Noise(side) for _ in widths])
        self.norms = nn.ModuleList(
            ConditionalBatchNorm(2 * outputs, condition, equalized=False) if condition else nn.BatchNorm2d(2 * outputs)
            for _ in widths
        )
        self.excitation = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(BASE),
                nn.Conv2d(source, outputs, BASE, bias=False),
                nn.SiLU(),
                nn.Conv2d(outputs, outputs, 1, bias=False),
                nn.Sigmoid(),
            )
            if source
            else None
        )

    def forward(self, x: Tensor, condition: Tensor | None, noise: list[Tensor | None], source: Tensor | None) -> Tensor:
        """(N, inputs, H, W), (N, condition), maps, smaller features => (N, outputs, 2H, 2W)."""
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = conv(x) if i else conv_doubled(x, conv.weight)
            if self.noises:
                x = self.noises[i](x, noise[i])
            x = F.glu(norm(x) if condition is None else norm(x, condition), dim=1)
        return x if self.excitation is None else x * self.excitation(source)


class FastGAN(Noisy):
    """FastGAN's generator.

    Latents: ``z`` (N, dim), where labels matter the embedded label ``c``, and noise maps (N, 1, side, side), two for
    each resolution with two convolutions. Images are nominally in [-1, 1].
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        self.options = options = FastGANOptions.from_mapping(spec.options, where="the options of a fastgan")
        known, z_dim, size = spec.resolution_channels or {}, spec.prior.dim, spec.size[0]
        c_dim = next((part.dim for part in spec.layout if isinstance(part, Condition)), 0)
        wanted = fastgan_spec(size, known, z_dim=z_dim, classes=spec.classes, c_dim=c_dim, options=options)
        if (spec.size, spec.layout) != (wanted.size, wanted.layout):
            raise SpecError("The size or layout is not that of a fastgan; see fastgan_spec().")
        self.first = nn.Sequential(
            nn.ConvTranspose2d(z_dim, 2 * known[BASE], BASE, bias=False), nn.BatchNorm2d(2 * known[BASE]), nn.GLU(1)
        )
        self.levels = nn.ModuleList(
            Block(
                known[before],
                known[side],
                side,
                c_dim,
                single=side in options.single,
                source=known[side // 16] if side in options.excited else 0,
            )
            for before, side in itertools.pairwise(sides(size))
        )
        self.to_image = nn.Conv2d(known[size], spec.channels, 3, padding=1, bias=options.bias)
        self.embedding = nn.Embedding(spec.classes, c_dim) if spec.classes else None
        self._draw()
        for module in self.modules():
            if isinstance(module, ConditionalBatchNorm):
                for layer in (module.gain, module.shift):
                    nn.init.normal_(layer.weight, std=0.5 / math.sqrt(c_dim))

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => the condition c (N, dim)."""
        if self.embedding is None:
            return super().embed(labels)
        made: Tensor = self.embedding(self.label_numbers(labels))
        return made

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        z, maps = latents["z"], self._maps(latents, noise)
        condition = latents["c"] if self.spec.classes else None
        if self.options.normalise_z:
            z = normalise_second_moment(z)
        found = [self.first(z[:, :, None, None])]
        for index, block in enumerate(self.levels):
            taken, maps = maps[: len(block.noises)], maps[len(block.noises) :]
            source = found[index - 3] if block.excitation is not None else None
            found.append(block(found[-1], condition, taken, source))
        images: Tensor = self.to_image(found[-1])
        return images.tanh() if self.options.tanh else images

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the tensors are named as FastGAN or Projected GANs name them."""
        return bool(formats.prefixes(checkpoint))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*formats.convert(checkpoint, cls))
