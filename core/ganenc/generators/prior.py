"""Draws of a generator's prior: streams in which every sample has a place of its own. Not in paper."""

from __future__ import annotations

import math

import numpy as np
import torch
from ganenc_registry.specs import Prior
from torch import Tensor

from ganenc.files import as_count

_CUT = 2.0
"""Where a truncated normal distribution ends."""


def draw_prior(prior: Prior, n: int, *, seed: int, first: int = 0) -> Tensor:
    """Rows ``first`` to ``first + n`` of an endless stream of draws: float32 (n, prior.dim), on the CPU."""
    z = draw_normal(n, prior.dim, seed=seed, first=first)
    if prior.kind == "normal":
        return z
    place = torch.erf(z.double() / math.sqrt(2))  # In the normal distribution: uniform from -1 to 1.
    if prior.kind == "uniform":
        return place.to(z.dtype)
    share = math.erf(_CUT / math.sqrt(2))
    return torch.erfinv(place * share).mul(math.sqrt(2)).to(z.dtype)


def draw_normal(n: int, dim: int, *, seed: int, first: int = 0) -> Tensor:
    """Rows ``first`` to ``first + n`` of an endless stream of standard normal draws: float32 (n, dim), on the CPU."""
    rows = [np.random.Generator(_stream(seed, first + i, 0)).standard_normal(dim, dtype=np.float32) for i in range(n)]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, dim)


def draw_class(classes: int, *, seed: int, place: int) -> int:
    """The label at a place of an endless stream of labels, each class as likely."""
    return int(np.random.Generator(_stream(seed, place, 1)).integers(classes))


def _stream(seed: int, index: int, purpose: int) -> np.random.Philox:
    seed = as_count(seed, "seed", -(2**63))
    return np.random.Philox(key=np.array([seed % 2**64, purpose], dtype=np.uint64), counter=[0, 0, 0, index])
