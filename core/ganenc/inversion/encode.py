"""One pass of the encoder."""

from __future__ import annotations

import torch
from ganenc_registry.specs import Spec
from pydantic import Field, PositiveInt
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.inverter import Inversion, Inverter, OnStep, by_size, in_parts, need_encoder
from ganenc.objectives import Objective

__all__ = ["Encode", "channels_last"]

AT_ONCE = 1 << 20
"""Pixels."""


class Encode(Inverter):
    """The encoder's latents as they are: milliseconds a photo."""

    needs_encoder, needs_objective, one_pass = True, False, True

    class Options(Spec):
        batch: PositiveInt | None = Field(
            None,
            description="photos at a time; by default 16 of up to 256x256 pixels, and fewer larger ones",
            json_schema_extra={"speed": True},
        )

    @torch.no_grad()
    def invert(
        self,
        images: Tensor,
        generator: Generator,
        encoder: Encoder | None,
        *,
        labels: Tensor | None = None,
        objective: Objective | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """See :meth:`Inverter.invert`; objective and seed play no part."""
        encoder = need_encoder(encoder).eval()
        generator.freeze()

        def encode(some: Tensor, given: Tensor | None, first: int) -> Inversion:
            latents = generator.complete(encoder(some, labels=given), labels=given)
            return Inversion(latents, generator.synthesize(latents), [[] for _ in some])

        return in_parts(channels_last(images), labels, self.at_once(generator, encoder), encode)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`."""
        return self.options.batch or by_size(generator, AT_ONCE)


def channels_last(images: Tensor) -> Tensor:
    """Images with the channels last in memory, where convolutions are fastest so."""
    if images.device.type in ("cpu", "cuda"):
        return images.contiguous(memory_format=torch.channels_last)
    return images
