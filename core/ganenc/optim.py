"""The optimiser that everything here is trained with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["make_adam"]


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
