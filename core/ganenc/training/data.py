"""What a run is trained on. Every source gives the batch of any step from the seed and the step alone, so that a
resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeAlias

import numpy as np
import torch
from ganenc_registry.errors import TrainingError
from torch import Tensor

from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Batch

Part: TypeAlias = tuple[int, int]
"""Which part, counted from 0, of how many."""
WHOLE: Part = (0, 1)


class Source(Protocol):
    """Gives batches."""

    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step, counted from 0, or the part of it that is one process's."""


class Synthesized:
    """``batch`` images a step that the generator makes from its prior, with their true latents, and labels if any:
    ``samples`` different ones, gone through in a new order each time, or for 0 never one twice. A ``truncation`` below
    1 keeps them nearer to the mean."""

    def __init__(
        self, generator: Generator, batch: int, *, seed: int = 0, samples: int = 0, truncation: float = 1.0
    ) -> None:
        self.generator, self.size, self.seed = generator, batch, seed
        self.samples, self.truncation = samples, truncation

    @torch.no_grad()
    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step."""
        latents, labels = self.draws(step, part)
        return Batch(self.generator.synthesize(latents), labels, latents, self.size)

    @torch.no_grad()
    def draws(self, step: int, part: Part = WHOLE) -> tuple[Latents, Tensor | None]:
        """The latents and labels of a step's batch."""
        own = mine(self.size, part)
        if self.samples:
            places = places_of(self.samples, self.size, step, self.seed)[own].tolist()
            draws = [self._draw(1, place) for place in places]
            latents = Latents.cat([one for one, _ in draws])
            labels = None if draws[0][1] is None else torch.cat([label for _, label in draws if label is not None])
            return latents, labels
        return self._draw(own.stop - own.start, step * self.size + own.start)

    def _draw(self, n: int, first: int) -> tuple[Latents, Tensor | None]:
        labels = self.generator.draw_labels(n, seed=self.seed, first=first)
        latents = self.generator.sample(n, seed=self.seed, first=first, labels=labels, truncation=self.truncation)
        return latents, labels


class Photos:
    """Photos (M, C, H, W), gone through in a new order each time, ``batch`` a step or all of them if there are fewer.
    They and their labels, int64 (M,) or rows (M, classes), stay where they are; batches go to ``device``."""

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
        self.photos, self.size, self.seed, self.device = photos, min(batch, len(photos)), seed, torch.device(device)
        self.labels = None if labels is None else each_label(len(photos), labels)

    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step."""
        places = places_of(len(self.photos), self.size, step, self.seed)[mine(self.size, part)]
        labels = None if self.labels is None else self.labels[places].to(self.device)
        return Batch(self.photos[places].to(self.device), labels, None, self.size)


class Mixture:
    """Steps on photos and steps on synthesized images, in turn: ``share`` of all steps are on photos."""

    def __init__(self, photos: Photos, synthesized: Synthesized, share: float) -> None:
        self.photos, self.synthesized, self.share = photos, synthesized, share

    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step."""
        before, after = int(step * self.share), int((step + 1) * self.share)
        return self.photos.batch(before, part) if after > before else self.synthesized.batch(step - before, part)


class Ahead:
    """Makes the next batch of a source while a step runs, in a thread, on a GPU in a stream of its own."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source = source
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ganenc-batches")
        self._next: tuple[int, Part, Future[Batch]] | None = None

    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step; the one after it is begun."""
        ready = self._next
        if ready is None or ready[:2] != (step, part):
            ready = (step, part, self._thread.submit(self._make, step, part))
        batch = ready[2].result()
        self._next = (step + 1, part, self._thread.submit(self._make, step + 1, part))
        if self._stream is not None:
            here = torch.cuda.current_stream(batch.images.device)
            here.wait_stream(self._stream)
            latents = [] if batch.latents is None else list(batch.latents.tensors.values())
            for tensor in (batch.images, batch.labels, *latents):
                if tensor is not None:
                    tensor.record_stream(here)
        return batch

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _make(self, step: int, part: Part) -> Batch:
        if self._stream is None:
            return self.source.batch(step, part)
        with torch.cuda.stream(self._stream):
            made = self.source.batch(step, part)
            self._stream.synchronize()
        return made


def each_label(photos: int, labels: Tensor) -> Tensor:
    """The label of each photo; `TrainingError` unless there is one for each, or one for all."""
    if len(labels) not in (1, photos):
        raise TrainingError(f"There are {photos} photos and {len(labels)} labels; give one each, or one for all.")
    return labels.expand(photos, *labels.shape[1:])


def mine(size: int, part: Part) -> slice:
    """Which of ``size`` samples a part has: sizes differ by one at most."""
    index, count = part
    if count > size:
        raise TrainingError(f"A step of {size} images cannot be shared by {count} processes; raise data.batch.")
    return slice(size * index // count, size * (index + 1) // count)


def places_of(total: int, batch: int, step: int, seed: int) -> Tensor:
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
