"""The optimiser that everything here is trained with, and its rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

FUSED = ("cpu", "cuda", "mps")
"""Devices on which Adam's fused form is taken; of others torch says whether it has one at the first step only."""


def make_adam(
    parameters: Iterable[nn.Parameter | torch.Tensor], rate: float, betas: tuple[float, float]
) -> torch.optim.Adam:
    """Adam, fused on the devices `FUSED`: the same to rounding. The paper has ``betas`` (0, 0.99) (section 4.1)."""
    given = list(parameters)
    fused = all(one.device.type in FUSED for one in given) or None
    try:
        return torch.optim.Adam(given, lr=rate, betas=betas, fused=fused)
    except (RuntimeError, TypeError):  # A dtype or release of torch that has no fused form.
        return torch.optim.Adam(given, lr=rate, betas=betas)


def restore_adam(adam: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a former ``adam.state_dict()``, with every average laid out in memory as its weight is.

    The fused form walks both side by side in memory: averages from disk, which are contiguous, would be mixed up
    against weights in ``channels_last``.
    """
    adam.load_state_dict(state)
    for parameter, averages in adam.state.items():
        for name, value in averages.items():
            if value.shape == parameter.shape:
                averages[name] = torch.empty_like(parameter).copy_(value)


def make_schedule(
    optimiser: torch.optim.Optimizer,
    steps: int,
    *,
    warmup: float = 0.0,
    falls: bool = True,
    factor: float = 1.0,
    done: int = 0,
) -> LambdaLR:
    """torch's scheduler for a training of so many steps, to be stepped after the optimiser: the rate rises over
    ``warmup`` steps, then falls to 0 along half a cosine, or stays.

    The full rate, times ``factor``, is the optimiser's, at its start or after its state was restored ``done`` steps on.
    """

    def share(step: int) -> float:
        if step < warmup:
            return factor * (step + 1) / (warmup + 1)
        if not falls:
            return factor
        return factor * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))

    return LambdaLR(optimiser, share, last_epoch=done - 1)
