"""Many images rebuilt to be measured, apart by how their labels come."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc.inversion.entry import invert
from ganenc.inversion.inverter import Inverter
from ganenc.inversion.parts import Parts
from ganenc.inversion.photo_classes import default_way
from ganenc.objectives import Objective

Rebuilt = tuple[Tensor, list[float], Tensor | None]
"""What was made of images (N, C, H, W), the seconds of each, and the labels that were taken."""


def rebuild(
    parts: Parts,
    targets: Tensor,
    inverter: Inverter,
    *,
    labels: Tensor | None = None,
    find: str | None = None,
    candidates: Sequence[int] | Tensor | None = None,
    objective: Callable[[], Objective],
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Rebuilt]:
    """Rebuild images (N, C, H, W), on the CPU, by labels ``given`` and by ``predicted`` or ``searched`` (the keys).

    Where there are no labels, the one key is empty. ``labels`` are known ones, int64 (N,) or rows (N, classes);
    ``find`` is how others are found, by default the best there is, a search if there are ``candidates``; ``objective``
    makes it, where one is needed; ``on_step`` is called with the images rebuilt, and all. A SpecError says that labels
    cannot be found as asked, or there are none otherwise.
    """
    generator, encoder = parts.generator, parts.encoder
    asked = find or (None if candidates is None else "searched")
    towards = objective() if parts.needs_objective(inverter, asked, candidates) else None
    way = asked or default_way(generator, encoder, towards)
    ways: dict[str, Tensor | str | None] = {} if labels is None else {"given": labels}
    if way is not None or not ways:
        ways[way or ""] = way
    size = len(targets) if inverter.shares else inverter.at_once(generator, encoder)
    made: dict[str, Rebuilt] = {}
    for place, (name, given) in enumerate(ways.items()):
        images, taken = [], []
        seconds: list[float] = []
        try:
            for first in range(0, len(targets), size):
                known = given[first : first + size] if isinstance(given, Tensor) else given
                some = targets[first : first + size].to(device=generator.device, dtype=generator.dtype)
                among = candidates if given == "searched" else None
                done = invert(
                    some, generator, encoder, inverter, labels=known, candidates=among, objective=towards, seed=seed
                )
                images.append(done.reconstructions.detach().to(targets))
                taken += [] if done.labels is None else [done.labels]
                seconds += done.seconds
                if on_step:
                    on_step(place * len(targets) + len(seconds), len(ways) * len(targets))
        except SpecError as error:
            if asked or not made:
                raise
            warnings.warn(f"Only with labels that are given: {error}", stacklevel=2)
            break
        made[name] = (torch.cat(images), seconds, torch.cat(taken) if taken else None)
    return made
