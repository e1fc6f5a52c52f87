"""Noise maps that are optimised, and held to noise (Karras et al., 2020, appendix D)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ganenc_registry.specs import Noise
from torch import Tensor
from torch.nn import functional as F

from ganenc.generators import Generator

SMALLEST = 8
"""Pixels of the side at which a map is not halved again."""


def noise_starts(generator: Generator, part: Noise, count: int, seed: int) -> dict[str, Tensor]:
    """The generator's own maps of a part, or draws where it has none that it tells, for ``count`` samples, by name."""
    maps, rng = {}, torch.Generator().manual_seed(seed)
    for i, shape in enumerate(part.shapes):
        name = f"{part.name}.{i}"
        own = generator.default(name)
        maps[name] = (torch.randn(1, *shape, generator=rng) if own is None else own).to(generator.device)
        maps[name] = maps[name].expand(count, *shape)
    return maps


@torch.no_grad()
def standardise_noise_(maps: Sequence[Tensor]) -> None:
    """Bring each map (N, C, H, W) to a mean of 0 and a deviation of 1, sample by sample and channel by channel."""
    for one in maps:
        one.sub_(one.mean((2, 3), keepdim=True))
        one.div_(one.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-12))


def noise_correlation(maps: Sequence[Tensor]) -> Tensor:
    """How much neighbouring values of maps (N, C, H, W) have in common, (N,): over both axes and all sizes down to 8
    pixels, the sum of the squared mean products of each value with the next. Halved by averages of four, times 2, white
    noise stays white of deviation 1, and gives nearly 0."""
    total = maps[0].new_zeros(len(maps[0]))
    for x in maps:
        while True:
            for axis in (2, 3):
                total = total + (x * x.roll(1, axis)).mean((1, 2, 3)).square()
            if min(x.shape[2:]) <= SMALLEST:
                break
            x = F.avg_pool2d(x, 2) * 2
    return total
