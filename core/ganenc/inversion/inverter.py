"""The contract of an inverter, and what the iterative ones share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from ganenc_registry.components import Component
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Objective

__all__ = ["Inversion", "Inverter", "OnStep", "by_size", "in_parts", "need_encoder"]


class OnStep(Protocol):
    """What is called now and then while an inverter works."""

    def __call__(self, photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
        """``photo`` counts from 0, ``step`` from 1; ``terms`` are the terms of the objective, by name."""


@dataclass(frozen=True)
class Inversion:
    """The result of an inversion."""

    latents: Latents
    """Of every photo, complete: they give the same pixels again, to rounding."""
    reconstructions: Tensor
    """(N, C, H, W) in the generator's value range, not clamped."""
    history: list[list[dict[str, float]]] = field(default_factory=list)
    """For each photo, for each step: ``step`` and every term of the objective by name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What replays it, as plain data: of an inverter its options as they came out; of `ganenc.invert` the arguments,
    ``method`` with its name and options, ``seed`` and ``labels``."""
    seconds: list[float] = field(default_factory=list)
    """The time that each photo took."""
    labels: Tensor | None = None
    """The classes that the photos were taken to be of: int64 (N,) or rows (N, classes); None where there are none."""
    labels_from: str | None = None
    """How these came: ``given``, ``predicted`` or ``searched``."""


class Inverter(Component, ABC):
    """A way from images to latents."""

    needs_encoder: ClassVar[bool] = False
    """Whether it cannot do without one; it is told before it is called."""
    needs_objective: ClassVar[bool] = True
    """Whether it compares images; then it is always given an objective."""
    one_pass: ClassVar[bool] = False
    """Whether it is one pass of the encoder, and no more."""

    @abstractmethod
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
        """Images (N, C, H, W) => latents that rebuild them.

        Args:
            images: in ``generator.spec.value_range``, on the generator's device.
            generator: frozen by the inverter.
            encoder: its weights stay as they are, and it is put into eval mode.
            labels: int64 (N,) or rows (N, classes), checked, where they matter.
            objective: what "close" means.
            seed: of whatever the method draws.
            on_step: called now and then with the terms of the objective.
        """

    @property
    def shares(self) -> bool:
        """Whether the photos of a call share what is trained, so that the result of one depends on the others."""
        return False

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """How many photos it works on at once where as many are given; more in a call gain nothing."""
        return 1


def by_size(generator: Generator, pixels: int) -> int:
    """How many images make up so many pixels: 16 at the most, and one at least."""
    height, width = generator.spec.size
    return max(1, min(16, pixels // (height * width)))


def need_encoder(encoder: Encoder | None, method: str = "") -> Encoder:
    """The encoder, or one sentence about where to get one.

    Raises:
        SpecError: if there is none.
    """
    if encoder is None:
        name = f"The method {method!r}" if method else "This method"
        raise SpecError(f"{name} needs an encoder; train one with `ganenc pretrain`, or use 'optimize'.")
    return encoder


def in_parts(
    images: Tensor,
    labels: Tensor | None,
    size: int,
    work: Callable[[Tensor, Tensor | None, int], Inversion],
    settings: Mapping[str, Any] | None = None,
) -> Inversion:
    """Invert images (N, C, H, W) ``size`` at a time, and put the parts together, with the time of each.

    ``work`` makes an inversion of some images, their labels and the place of the first.
    """
    parts = []
    for first in range(0, len(images), size):
        started = time.perf_counter()
        some, given = images[first : first + size], None if labels is None else labels[first : first + size]
        part = work(some, given, first)
        spent = (time.perf_counter() - started) / len(some)
        parts.append(replace(part, seconds=[spent] * len(some)))
    return Inversion(
        Latents.cat([part.latents for part in parts]),
        torch.cat([part.reconstructions for part in parts]),
        [rows for part in parts for rows in part.history],
        dict(settings or {}),
        [spent for part in parts for spent in part.seconds],
    )
