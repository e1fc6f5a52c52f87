"""The inverter ``in-domain`` (Zhu et al., 2020): the encoder's latents by gradient, held where it finds them again."""

from __future__ import annotations

import copy
from typing import ClassVar

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Inversion, Inverter, Task, by_size, need_encoder
from ganenc_registry.specs import Condition, PositiveInt, Spec
from pydantic import Field, NonNegativeFloat, PositiveFloat

from ganenc_plugin_methods.gradient import descend_latents, own_objective

__all__ = ["InDomainInverter"]

PIXELS = 1 << 18
"""Of the photos at once."""
SCALE = 127.5**2
"""What squares of features grow by between images from -1 to 1 and pixels from 0 to 255, in a network without biases;
the published weight is of the latter."""


class InDomainInverter(Inverter):
    """In-domain: starts where the encoder does, and holds the latents to what the encoder says of their image. Pixels
    and features of the objective's backbone are compared; its other losses play no part. It needs an encoder."""

    needs_encoder: ClassVar[bool] = True

    class Options(Spec):
        """How long it goes, and towards what."""

        steps: PositiveInt = Field(100, description="steps in all, for all photos together")
        rate: PositiveFloat = Field(0.01, description="learning rate throughout")
        perceptual: NonNegativeFloat = Field(
            5e-5, description="weight of the features of pixels from 0 to 255, beside 1 of pixels from -1 to 1"
        )
        domain: NonNegativeFloat = Field(
            2.0, description="weight of the mean square of latents and what the encoder says of their image"
        )

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return by_size(generator, PIXELS)

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`."""
        options, encoder = self.options, copy.deepcopy(need_encoder(task.encoder)).requires_grad_(False)
        objective = own_objective(task, latent=options.domain, features=options.perceptual * SCALE)
        names = [part.name for part in encoder.spec.parts if not isinstance(part, Condition)]
        return descend_latents(
            task, task.encoded(), names, objective, steps=options.steps, rate=options.rate,
            encoder=encoder if options.domain else None,
        )  # fmt: skip
