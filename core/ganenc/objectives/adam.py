"""The optimiser that everything here is trained with, and its rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["make_adam", "restore_adam", "schedule"]


def make_adam(
    parameters: Iterable[nn.Parameter | torch.Tensor], rate: float, betas: tuple[float, float]
) -> torch.optim.Adam:
    """Adam, in its fused form where the device has one: the same numbers to rounding, in one pass over the weights.

    Args:
        parameters: what to train.
        rate: the learning rate.
        betas: decay of the averages; the paper has (0, 0.99) (section 4.1).
    """
    given = list(parameters)
    try:
        return torch.optim.Adam(given, lr=rate, betas=betas, fused=True)
    except (RuntimeError, TypeError):  # A device, dtype or release of torch that has no fused form.
        return torch.optim.Adam(given, lr=rate, betas=betas)


def restore_adam(adam: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state that ``adam.state_dict()`` gave, with every average laid out in memory as its weight is.

    A state from disk is contiguous, and the fused form walks weights and averages side by side in memory: against
    weights in ``channels_last`` it would take each average for another's.

    Args:
        adam: what ``make_adam`` gave.
        state: its former state.
    """
    adam.load_state_dict(state)
    for parameter, averages in adam.state.items():
        for name, value in averages.items():
            if value.shape == parameter.shape:
                averages[name] = torch.empty_like(parameter).copy_(value)


def schedule(
    optimiser: torch.optim.Optimizer,
    steps: int,
    *,
    warmup: float = 0.0,
    falls: bool = True,
    factor: float = 1.0,
    done: int = 0,
) -> LambdaLR:
    """The rate over a training: it rises over the warm-up, then falls to 0 along half a cosine, or stays.

    Args:
        optimiser: at its full rate, or after its state was restored.
        steps: in all.
        warmup: steps over which the rate rises.
        falls: whether it falls afterwards.
        factor: by what the full rate is multiplied.
        done: steps done before.

    Returns:
        torch's scheduler, to be stepped after the optimiser.
    """

    def share(step: int) -> float:
        if step < warmup:
            return factor * (step + 1) / (warmup + 1)
        if not falls:
            return factor
        return factor * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))

    return LambdaLR(optimiser, share, last_epoch=done - 1)
