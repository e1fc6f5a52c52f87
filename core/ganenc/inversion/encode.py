"""One pass of the encoder."""

from __future__ import annotations

from dataclasses import replace

import torch
from ganenc_registry.specs import PositiveInt, Spec
from pydantic import Field
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.inverter import Inversion, Inverter, Task, by_size

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
    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`; objective and seed play no part."""
        latents = replace(task, images=channels_last(task.images)).encoded()
        return Inversion(latents, task.generator.synthesize(latents))

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return self.options.batch or by_size(generator, AT_ONCE)


def channels_last(images: Tensor) -> Tensor:
    """Images with the channels last in memory, where convolutions are fastest so."""
    if images.device.type in ("cpu", "cuda"):
        return images.contiguous(memory_format=torch.channels_last)
    return images
