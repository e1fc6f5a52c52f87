"""Where a training stands, and what it has lately seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganenc.files import Processes


@dataclass
class Progress:
    """Where a run stands; all of it is in its checkpoints."""

    step: int = 0
    """Steps done."""
    rate_factor: float = 1.0
    """By what the learning rate was lowered after losses that were not finite."""
    retries: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    smooth_loss: float = math.nan
    best_kept: float = math.inf
    """The smoothed loss of the encoder that is kept as the best one."""
    micro_batch: int = 0
    """Images at a time, once that is settled."""
    stopped: str = ""
    """Why the run ended early, if it did."""


@dataclass
class Window:
    """Sums of the terms since the last row of metrics, kept on the device."""

    names: list[str] = field(default_factory=list)
    total: Tensor | None = None
    count: int = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add this process's part of a step's terms."""
        values = torch.stack(list(terms.values()))
        if self.total is None or self.names != list(terms):
            self.names, self.total, self.count = list(terms), values, 1
        else:
            self.total, self.count = self.total + values, self.count + 1

    def means(self, processes: Processes) -> dict[str, float]:
        """The mean of each term, brought to the host; the window starts anew."""
        if self.total is None:
            return {}
        values = (processes.sum(self.total.clone()) / self.count).tolist()
        self.total = None
        return dict(zip(self.names, values))
