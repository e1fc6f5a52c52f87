"""Where a training stands, what it has lately seen, and its rate at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.files import Processes

__all__ = ["Progress", "Window", "copied", "rate_at"]


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


def copied(value: Any) -> Any:
    """Nested dicts and lists with every tensor copied."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value


def rate_at(run: RunSpec, step: int) -> float:
    """The share of the full learning rate at a step."""
    choice = run.optimiser
    if step < choice.warmup:
        return (step + 1) / (choice.warmup + 1)
    if choice.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - choice.warmup) / max(1, run.steps - choice.warmup)))
