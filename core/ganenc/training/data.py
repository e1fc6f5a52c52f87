"""What a run is trained on. Every source gives the batch of any step from the seed and the step alone, so that a
resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from ganenc_registry.errors import TrainingError
from torch import Tensor

from ganenc.generator import Generator
from ganenc.latents import Latents
from ganenc.step import Batch

__all__ = ["Mixture", "Photos", "Source", "Synthesized", "check_labels"]


class Source(Protocol):
    """Gives batches."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""


class Synthesized:
    """Images that the generator makes from its prior, with their true latents.

    Args:
        generator: what makes them.
        batch: images a step.
        seed: of the draws.
        samples: how many different images there are, gone through in a new order each time; 0 never repeats one.
        truncation: below 1 for images nearer to the mean.
    """

    def __init__(
        self, generator: Generator, batch: int, *, seed: int = 0, samples: int = 0, truncation: float = 1.0
    ) -> None:
        self.generator, self.size, self.seed = generator, batch, seed
        self.samples, self.truncation = samples, truncation

    @torch.no_grad()
    def batch(self, step: int) -> Batch:
        """The batch of a step: images (N, C, H, W), their latents, and labels where they matter."""
        generator = self.generator
        if self.samples:
            places = _places(self.samples, self.size, step, self.seed).tolist()
            draws = [self._draw(1, place) for place in places]
            latents = Latents.cat([one for one, _ in draws])
            labels = None if draws[0][1] is None else torch.cat([label for _, label in draws if label is not None])
        else:
            latents, labels = self._draw(self.size, step * self.size)
        return Batch(generator.synthesize(latents), labels, latents)

    def _draw(self, n: int, first: int) -> tuple[Latents, Tensor | None]:
        labels = self.generator.draw_labels(n, seed=self.seed, first=first)
        latents = self.generator.sample(n, seed=self.seed, first=first, labels=labels, truncation=self.truncation)
        return latents, labels


class Photos:
    """Photos, gone through in a new order each time.

    Args:
        photos: (M, C, H, W) in the generator's value range; they stay where they are and are moved batch by batch.
        batch: images a step; all of them if there are fewer.
        labels: int64 (M,) or rows (M, classes), where they matter.
        seed: of the order.
        device: where batches go.
    """

    def __init__(
        self,
        photos: Tensor,
        batch: int,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if not len(photos):
            raise TrainingError("There are no photos to fine-tune on; name a folder that has some.")
        if labels is not None:
            check_labels(len(photos), labels)
        self.photos, self.size, self.seed, self.device = photos, min(batch, len(photos)), seed, torch.device(device)
        self.labels = labels
        if labels is not None and len(labels) == 1:
            self.labels = labels.expand(len(photos), *labels.shape[1:])

    def batch(self, step: int) -> Batch:
        """The batch of a step: photos (N, C, H, W), and labels where they matter."""
        places = _places(len(self.photos), self.size, step, self.seed)
        labels = None if self.labels is None else self.labels[places].to(self.device)
        return Batch(self.photos[places].to(self.device), labels)


class Mixture:
    """Steps on photos and steps on synthesized images, in turn: ``share`` of all steps are on photos."""

    def __init__(self, photos: Photos, synthesized: Synthesized, share: float) -> None:
        self.photos, self.synthesized, self.share = photos, synthesized, share

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        before, after = int(step * self.share), int((step + 1) * self.share)
        return self.photos.batch(before) if after > before else self.synthesized.batch(step - before)


def check_labels(photos: int, labels: Tensor) -> None:
    """Raise ``TrainingError`` unless there is one label for each photo, or one for all."""
    if len(labels) not in (1, photos):
        raise TrainingError(f"There are {photos} photos and {len(labels)} labels; give one each, or one for all.")


def _places(total: int, batch: int, step: int, seed: int) -> Tensor:
    """Which ``batch`` of ``total`` samples step ``step`` takes: pass after pass, each in a random order of its own."""
    places: list[Tensor] = []
    first = step * batch
    while (missing := batch - sum(map(len, places))) > 0:
        turn, offset = divmod(first, total)
        entropy = int(np.random.SeedSequence([seed, turn]).generate_state(1, np.uint64)[0]) >> 1
        order = torch.randperm(total, generator=torch.Generator().manual_seed(entropy))
        taken = order[offset : offset + missing]
        places.append(taken)
        first += len(taken)
    return torch.cat(places)
