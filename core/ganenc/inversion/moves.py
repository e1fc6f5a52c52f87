"""Latents as edits move them, and the images that a photo's are to become: how tuned weights keep edits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ganenc.inversion.inverter import Task, by_size
from ganenc.latents import Latents
from ganenc.objectives import Reference

COUNT, PIXELS = 64, 1 << 24
"""So many moves are made of all pivots, over and over, or as many as have so many pixels, as they are kept."""
AT_ONCE = 1 << 16
"""So many pixels are made at once."""
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
        self._last = self._drawn(0, 1)

    def __call__(self, step: int) -> tuple[Latents, Reference]:
        """One of the moved pivots, each pivot in turn, and what its image is to be compared with."""
        place = step % self._count
        while len(self._made) <= place:
            self._make(min(by_size(self._task.generator, AT_ONCE), self._count - len(self._made)))
        return self._made[place]

    @torch.no_grad()
    def _make(self, n: int) -> None:
        """The next ``n`` moves."""
        task, places = self._task, range(len(self._made), len(self._made) + n)
        assert task.objective is not None
        at = [place % len(self._pivots) for place in places]
        labels = None if task.labels is None else task.labels[at]
        drawn = Latents.cat([self._last, self._drawn(places.start + 1, n)])
        self._last = drawn.select(slice(n, None))
        shares = [
            float(torch.rand((), generator=torch.Generator().manual_seed(task.seed + place))) - 0.5 for place in places
        ]
        moved = self._pivots.select(at)
        for name, rows in drawn.tensors.items():
            share = rows.new_tensor(shares).reshape(-1, *[1] * (rows.ndim - 1))
            moved = moved.replace(**{name: moved[name] + share * rows.diff(dim=0)})
        low, high = task.generator.spec.value_range
        wanted = carried(task.images[at], self._before[at], task.generator.synthesize(moved), width=high - low)
        for place in range(n):
            one = slice(place, place + 1)
            label = None if labels is None else labels[one]
            self._made.append((moved.select(one), task.objective.prepare(wanted[one], labels=label)))

    @torch.no_grad()
    def _drawn(self, first: int, n: int) -> Latents:
        """``n`` samples, of the first photo's class."""
        task, labels = self._task, None if self._task.labels is None else self._task.labels[[0] * n]
        drawn = task.generator.map(task.generator.draw(n, seed=task.seed, first=first), labels=labels)
        drawn = task.generator.complete(drawn, labels=labels)
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
