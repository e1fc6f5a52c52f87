"""One pass of the encoder."""

from __future__ import annotations

import time

import torch
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc.encoder import Encoder
from ganenc.generator import Generator
from ganenc.inverters.base import Inversion, Inverter, OnStep
from ganenc.latents import Latents
from ganenc.objective import Objective

__all__ = ["Encode", "need_encoder"]


class Encode(Inverter):
    """The encoder's latents as they are: milliseconds a photo.

    Args:
        batch: how many photos go through at once.
    """

    def __init__(self, batch: int = 16) -> None:
        if batch < 1:
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
        for first in range(0, len(images), self.batch):
            started = time.perf_counter()
            some = images[first : first + self.batch]
            given = None if labels is None else labels[first : first + self.batch]
            latents = generator.complete(encoder(some, labels=given), labels=given)
            found.append(latents)
            made.append(generator.synthesize(latents))
            seconds += [(time.perf_counter() - started) / len(some)] * len(some)
        return Inversion(Latents.cat(found), torch.cat(made), [[] for _ in images], {"method": "encode"}, seconds)


def need_encoder(encoder: Encoder | None, method: str) -> Encoder:
    """The encoder, or one sentence about where to get one."""
    if encoder is None:
        raise SpecError(f"The method {method!r} needs an encoder; train one with `ganenc pretrain`, or use 'optimize'.")
    return encoder
