"""Latents as edits move them, and the images that a photo's are to become: how tuned weights keep edits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ganenc.inversion.inverter import Task
from ganenc.latents import Latents
from ganenc.objectives import Reference

COUNT, PIXELS = 64, 1 << 24
"""So many moves are made of all pivots, over and over, or as many as have so many pixels, as they are kept."""
STILL = 0.05
"""The change of a pixel, in widths of the value range, at which 1/e of a photo's own detail is kept."""
AROUND = 64
"""The change is a mean over a pixel and so many at each side as an image has times this many."""


class Moves:
    """Pivots moved as edits move them: as two of the generator's own samples differ, each as the encoder (where there
    is one) sees it, by half of that at most, forwards or backwards. They are made when they are first asked for."""

    def __init__(self, task: Task, pivots: Latents) -> None:
        self._task, self._pivots = task, pivots
        height, width = task.generator.spec.size
        self._count = max(len(pivots), 8, min(COUNT, PIXELS // (height * width)))
        self._made: list[tuple[Latents, Reference]] = []
        with torch.no_grad():
            self._before = task.generator.synthesize(pivots)
        self._last = self._drawn(0)

    def __call__(self, step: int) -> tuple[Latents, Reference]:
        """One of the moved pivots, each pivot in turn, and what its image is to be compared with."""
        while len(self._made) <= step % self._count:
            self._made.append(self._move(len(self._made)))
        return self._made[step % self._count]

    @torch.no_grad()
    def _move(self, place: int) -> tuple[Latents, Reference]:
        task, at = self._task, place % len(self._pivots)
        assert task.objective is not None
        pivot, labels = self._pivots[at], None if task.labels is None else task.labels[at : at + 1]
        last, self._last = self._last, self._drawn(place + 1)
        share = float(torch.rand((), generator=torch.Generator().manual_seed(task.seed + place))) - 0.5
        moved = pivot.replace(
            **{name: pivot[name] + share * (end - last[name]) for name, end in self._last.tensors.items()}
        )
        low, high = task.generator.spec.value_range
        before, photo = self._before[at : at + 1], task.images[at : at + 1]
        wanted = carried(photo, before, task.generator.synthesize(moved), width=high - low)
        return moved, task.objective.prepare(wanted, labels=labels)

    @torch.no_grad()
    def _drawn(self, place: int) -> Latents:
        """The sample of a place, of the first photo's class."""
        task, labels = self._task, None if self._task.labels is None else self._task.labels[:1]
        z = task.generator.draw(1, seed=task.seed, first=place)
        drawn = task.generator.complete(task.generator.map(z, labels=labels), labels=labels)
        if task.encoder is None:
            return drawn
        return replace(task, images=task.generator.synthesize(drawn), labels=labels).encoded()


def carried(photo: Tensor, before: Tensor, after: Tensor, *, width: float) -> Tensor:
    """What an image (N, C, H, W) becomes that differs from ``before`` when that becomes ``after``: y + (x - y0)
    exp(-(|y - y0| / s)^2), where the change is a mean over channels and neighbours, and s 1/20 of the range."""
    change = (after - before).abs().mean(1, keepdim=True)
    sides = [2 * (side // AROUND) + 1 for side in change.shape[2:]]
    change = F.avg_pool2d(F.pad(change, [sides[1] // 2] * 2 + [sides[0] // 2] * 2, mode="replicate"), sides, 1)
    return after + (photo - before) * (-(change / (STILL * width)).square()).exp()
