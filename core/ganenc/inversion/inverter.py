"""The contract of an inverter, and what the iterative ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Objective, ObjectiveResult

__all__ = ["Best", "History", "Inversion", "Inverter", "OnStep", "by_size"]


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
    """The method and its options."""
    seconds: list[float] = field(default_factory=list)
    """The time that each photo took."""
    labels: Tensor | None = None
    """The classes that the photos were taken to be of: int64 (N,) or rows (N, classes); None where there are none."""


class Inverter(ABC):
    """A way from images to latents. Its constructor takes the options of the method."""

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
        """Images (N, C, H, W) in ``generator.spec.value_range`` => latents that rebuild them.

        Args:
            images: the photos, on the generator's device.
            generator: frozen by the inverter.
            encoder: its weights stay as they are, and it is put into eval mode; None for methods that can do without.
            labels: int64 (N,) or rows (N, classes), where they matter.
            objective: what "close" means; the paper's by default.
            seed: of whatever the method draws.
            on_step: called now and then with the terms of the objective.
        """

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """How many photos it works on at once where as many are given; more in a call gain nothing.

        By default its option ``batch``, or one where it has none.
        """
        return getattr(self, "batch", None) or 1


def by_size(generator: Generator, pixels: int) -> int:
    """How many images make up so many pixels: 16 at the most, and one at least."""
    height, width = generator.spec.size
    return max(1, min(16, pixels // (height * width)))


class Best:
    """The latents of the lowest loss so far, sample by sample, kept without a transfer to the host."""

    def __init__(self) -> None:
        self.latents: Latents | None = None
        self.loss: Tensor | None = None

    @torch.no_grad()
    def offer(self, latents: Latents, loss: Tensor) -> None:
        """Keep the samples whose loss (N,) is lower than before. A loss that is not finite is never lower."""
        loss = torch.where(loss.isfinite(), loss.detach(), torch.inf)
        if self.latents is None or self.loss is None:
            self.latents, self.loss = latents.detach().clone(), loss
            return
        better = loss < self.loss
        kept = {
            name: torch.where(better.reshape(-1, *[1] * (old.ndim - 1)), latents[name].detach(), old)
            for name, old in self.latents.tensors.items()
        }
        self.latents, self.loss = self.latents.replace(**kept), torch.where(better, loss, self.loss)

    @property
    def found(self) -> Latents:
        """The best latents.

        Raises:
            ImageError: if not one loss was finite.
        """
        if self.latents is None or self.loss is None or not bool(self.loss.isfinite().all()):
            raise ImageError("The inversion never had a finite loss; lower its rate, or check the photo's values.")
        return self.latents


class History:
    """The terms of every step, kept on the device and brought to the host in one transfer."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.rows: list[tuple[list[str], Tensor]] = []

    def add(self, result: ObjectiveResult) -> None:
        """Keep the terms (N,) of a step."""
        self.rows.append((list(result.terms), torch.stack([term.detach() for term in result.terms.values()])))

    def latest(self) -> dict[str, float]:
        """The terms of the last step, averaged over the samples."""
        names, values = self.rows[-1]
        return dict(zip(names, values.mean(1).tolist()))

    def per_sample(self) -> list[list[dict[str, float]]]:
        """For each sample, for each step: ``step`` (from 1) and the terms."""
        if not self.rows:
            return []
        hosted = [(names, values.cpu().T.tolist()) for names, values in self.rows]
        count = len(hosted[0][1])
        return [
            [{"step": float(step), **dict(zip(names, values[i]))} for step, (names, values) in enumerate(hosted, 1)]
            for i in range(count)
        ]
