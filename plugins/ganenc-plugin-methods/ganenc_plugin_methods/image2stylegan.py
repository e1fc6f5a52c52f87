"""The inverter ``image2stylegan`` (Abdal et al., 2019): latents by gradient, from their mean."""

from __future__ import annotations

from typing import Literal

import torch
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Inversion, Inverter, Task, by_size
from ganenc.latents import Latents
from ganenc_registry.specs import PositiveInt, Spec
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from ganenc_plugin_methods.gradient import descend_latents, own_objective
from ganenc_plugin_methods.parts import sought

__all__ = ["PIXELS", "Image2StyleGAN"]

PIXELS = 1 << 18
"""Of the photos at once."""


class Image2StyleGAN(Inverter):
    """Image2StyleGAN: W+, or the generator's vectors, by Adam at one rate, towards the pixels and a backbone's features
    (that of the objective, whose other losses play no part). It needs no encoder; maps stay the generator's own."""

    class Options(Spec):
        """How long it goes, and from where."""

        steps: PositiveInt = Field(5000, description="steps in all, for all photos together")
        rate: PositiveFloat = Field(0.01, description="learning rate throughout")
        perceptual: NonNegativeFloat = Field(1.0, description="weight of the features beside 1 of the pixels")
        start: Literal["center", "uniform"] = Field(
            "center", description="the mean latents (of the class where it is given), or draws from -1 to 1"
        )

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return by_size(generator, PIXELS)

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`."""
        options, names = self.options, sought(task.generator.spec.layout)
        objective = own_objective(task, features=options.perceptual)
        return descend_latents(task, self._start(task), names, objective, steps=options.steps, rate=options.rate)

    @torch.no_grad()
    def _start(self, task: Task) -> Latents:
        generator, count = task.generator, len(task.images)
        center = generator.center(labels=task.labels)
        start = generator.complete(center if len(center) == count else center.expand(count), labels=task.labels)
        if self.options.start == "center":
            return start
        rng = torch.Generator().manual_seed(task.seed + task.first)

        def draw(like: Tensor) -> Tensor:
            return (2 * torch.rand(like.shape, generator=rng) - 1).to(like)

        return start.replace(**{name: draw(start[name]) for name in sought(start.layout)})
