"""One pass of the encoder."""

from __future__ import annotations

import time

import torch
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.inverter import Inversion, Inverter, OnStep, by_size
from ganenc.latents import Latents
from ganenc.objectives import Objective

__all__ = ["Encode", "need_encoder"]

AT_ONCE = 1 << 20
"""Pixels."""


class Encode(Inverter):
    """The encoder's latents as they are: milliseconds a photo.

    Args:
        batch: how many photos go through at once; by default 16 of up to 256x256 pixels, and fewer larger ones.
    """

    def __init__(self, batch: int | None = None) -> None:
        if batch is not None and batch < 1:
            raise SpecError(f"encode: batch is above 0, not {batch}.")
        self.batch = batch

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
        encoder = need_encoder(encoder, "encode").eval()
        generator.freeze()
        found, made, seconds = [], [], []
        size = self.at_once(generator, encoder)
        if images.device.type in ("cpu", "cuda"):  # Convolutions there are fastest with the channels last.
            images = images.contiguous(memory_format=torch.channels_last)
        for first in range(0, len(images), size):
            started = time.perf_counter()
            some = images[first : first + size]
            given = None if labels is None else labels[first : first + size]
            latents = generator.complete(encoder(some, labels=given), labels=given)
            found.append(latents)
            made.append(generator.synthesize(latents))
            seconds += [(time.perf_counter() - started) / len(some)] * len(some)
        return Inversion(Latents.cat(found), torch.cat(made), [[] for _ in images], {"method": "encode"}, seconds)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`."""
        return self.batch or by_size(generator, AT_ONCE)


def need_encoder(encoder: Encoder | None, method: str) -> Encoder:
    """The encoder, or one sentence about where to get one."""
    if encoder is None:
        raise SpecError(f"The method {method!r} needs an encoder; train one with `ganenc pretrain`, or use 'optimize'.")
    return encoder
