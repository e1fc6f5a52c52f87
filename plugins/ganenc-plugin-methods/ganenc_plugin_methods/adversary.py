"""What recipes with an adversary share: discriminators, their losses, and a step that trains one beside an encoder."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from ganenc.encoders import Conv, Linear, halve, mirror
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Batch, make_adam
from ganenc.training import EncoderRecipe, Synthesized, Update
from ganenc_registry.components import Context
from ganenc_registry.specs import EncoderSpec, Spec
from ganenc_registry.specs.sizes import PositiveInt
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "MLP",
    "AdversarialOptions",
    "AdversarialRecipe",
    "ImageFeatures",
    "Shown",
    "Standard",
    "fooled",
    "hinge",
    "r1",
    "told",
]

SLOPE = 0.2
DRAWS = 1000
"""Of the generator's latents, whose mean and deviation are taken."""


def fooled(scores: Tensor) -> Tensor:
    """The non-saturating loss of what is to pass for real (Goodfellow et al., 2014)."""
    return F.softplus(-scores)


def told(real: Tensor, fake: Tensor) -> Tensor:
    """The loss of the discriminator that `fooled` is played against."""
    return F.softplus(-real) + F.softplus(fake)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The hinge loss of a discriminator (Lim and Ye, 2017)."""
    return F.relu(1 - real) + F.relu(1 + fake)


def r1(scores: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The squared gradient of the scores of real inputs (N, ...), each sample's alone => (N,) (Mescheder et al., 2018,
    Equation 9)."""
    given = [one.detach().requires_grad_() for one in inputs]
    gradients = torch.autograd.grad(scores(*given).sum(), given, create_graph=True)
    return torch.stack([one.square().flatten(1).sum(1) for one in gradients]).sum(0)


class MLP(nn.Sequential):
    """Linear layers with leaky ReLU between them: (..., widths[0]) => (..., widths[-1])."""

    def __init__(self, *widths: int) -> None:
        layers = [Linear(a, b, gain=math.sqrt(2), equalized=False) for a, b in itertools.pairwise(widths)]
        between: list[nn.Module] = [one for layer in layers for one in (layer, nn.LeakyReLU(SLOPE))]
        super().__init__(*between[:-1])


class ImageFeatures(nn.Module):
    """Images (N, C, H, W) of a size, from -1 to 1 => features (N, width): residual units that each halve, as wide as
    the blocks of the encoder that mirrors the generator at that size. No sample sees another."""

    def __init__(self, generator: Generator, size: tuple[int, int]) -> None:
        super().__init__()
        *blocks, last = mirror(generator, size=size).blocks
        self.first = Conv(generator.spec.channels, (blocks or [last])[0].in_channels, 1)
        self.units = nn.ModuleList(ResidualUnit(one.in_channels, one.out_channels) for one in blocks)
        self.width = last.out_channels
        self.last = Linear(last.in_channels * math.prod(last.size), self.width, gain=math.sqrt(2))

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(images), SLOPE)
        for unit in self.units:
            x = unit(x)
        return F.leaky_relu(self.last(x.flatten(1)), SLOPE)


class ResidualUnit(nn.Module):
    """(N, C, H, W) => (N, D, H // 2, W // 2): two convolutions beside a bypass, as in StyleGAN2's discriminator."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = Conv(inputs, inputs, 3), Conv(inputs, outputs, 3)
        self.bypass = Conv(inputs, outputs, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.leaky_relu(halve(self.conv_2(F.leaky_relu(self.conv_1(x), SLOPE))), SLOPE)
        out: Tensor = (branch + self.bypass(halve(x))) * math.sqrt(0.5)
        return out


class Standard(nn.Module):
    """The parts of an encoder's latents, in the deviations of the generator's own from their mean; without those that
    are the same for all draws, such as StyleGAN's constant."""

    def __init__(self, generator: Generator, spec: EncoderSpec) -> None:
        super().__init__()
        with torch.no_grad():
            drawn = generator.complete(generator.sample(DRAWS))
        known = {part.name: torch.std_mean(drawn[part.name], 0) for part in spec.parts}
        self.shapes = {
            name: mean.shape for name, (_, mean) in known.items() if not (drawn[name] == drawn[name][:1]).all()
        }
        self.width = sum(map(math.prod, self.shapes.values()))
        for place, name in enumerate(self.shapes):
            deviation, mean = known[name]
            self.register_buffer(f"mean_{place}", mean)
            self.register_buffer(f"deviation_{place}", deviation.where(deviation > 0, 1.0))

    def forward(self, latents: Latents) -> Tensor:
        """Latents of N samples => all parts, one after the other (N, F)."""
        apart = [
            (latents[name] - self.get_buffer(f"mean_{place}")) / self.get_buffer(f"deviation_{place}")
            for place, name in enumerate(self.shapes)
        ]
        return torch.cat([one.flatten(1) for one in apart], 1)

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """What `forward` gave => by part."""
        pieces = rows.split([math.prod(shape) for shape in self.shapes.values()], 1)
        return {name: one.reshape(-1, *self.shapes[name]) for name, one in zip(self.shapes, pieces, strict=True)}


@dataclass(frozen=True)
class Shown(Batch):
    """What a discriminator tells apart: a batch, and what was made of its images."""

    _: KW_ONLY
    made: Tensor = field(repr=False)
    """(N, ...)"""

    def __getitem__(self, samples: slice) -> Shown:
        return Shown(**vars(super().__getitem__(samples)), made=self.made[samples])


class AdversarialOptions(Spec):
    """What can be chosen of a discriminator."""

    rate: float = Field(1e-4, gt=0, description="learning rate of the discriminator; it follows the run's schedule")
    r1: float = Field(10.0, ge=0, description="weight of half the squared gradient at what is real (R1)")
    r1_every: PositiveInt = Field(16, description="steps between two of R1, which counts so many times more")


class AdversarialRecipe(EncoderRecipe):
    """An encoder's step, then one of a discriminator that sees what the encoder's step made, each with an Adam of its
    own. A subclass makes the discriminator, appends what is made of each part of a batch to ``self.made`` in its
    `losses`, and scores it."""

    class Options(AdversarialOptions):
        """What can be chosen of it."""

    discriminator: Any

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.steps = 0
        self.made: list[Tensor] = []
        run, like = self.context.run, next(self.encoder.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            self.discriminator = self.discriminating().to(like.device, like.dtype)
        adam = make_adam(self.discriminator.parameters(), self.options.rate, run.optimiser.betas)
        self.own("discriminator", self.discriminator, adam)

    @abstractmethod
    def discriminating(self) -> nn.Module:
        """A new discriminator; `SpecError` if the encoder or its generator is none for this recipe."""

    @abstractmethod
    def telling(self, shown: Shown) -> Tensor:
        """The discriminator's loss (N,)."""

    @abstractmethod
    def penalty(self, shown: Shown) -> Tensor:
        """`r1` of what is real (N,)."""

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.made = []
        self.discriminator.requires_grad_(False)
        terms = super().step(batch, update)
        self.discriminator.requires_grad_(True)
        judged = update("discriminator", self._telling, self.shown(batch))
        self.steps += 1
        return {**terms, "discriminator": judged["discriminator"]}

    def shown(self, batch: Batch) -> Shown:
        """What the discriminator sees of a batch whose parts are in ``self.made``."""
        return Shown(**vars(batch), made=torch.cat(self.made))

    def true_latents(self, batch: Batch) -> Latents:
        """The generator's own: those of the batch, or for photos as many draws."""
        network, latents = self.context.network, batch.latents
        if latents is None:
            source = Synthesized(network, batch.of or len(batch), seed=self.context.run.seed)
            latents = source.draws(self.steps, self.context.processes.part)[0][: len(batch)]
        return network.complete(latents)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]

    def _telling(self, part: Batch) -> dict[str, Tensor]:
        assert isinstance(part, Shown)
        options = self.options
        with torch.autocast(part.images.device.type, enabled=False):
            loss = total = self.telling(part)
            if options.r1 and self.steps % options.r1_every == 0:
                total = loss + options.r1 / 2 * options.r1_every * self.penalty(part)
        return {"total": total, "discriminator": loss}
