"""Damage to what a sound file holds: tensors that are missing, renamed, of other shapes and kinds; other metadata."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import torch
from ganenc.foreign import Checkpoint
from torch import Tensor

from fuzzing.containers import changed

__all__ = ["damaged"]

RESHAPED: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x[None],
    lambda x: x.flatten(),
    lambda x: x.reshape(()) if x.numel() == 1 else x[:1],
    lambda x: x.mT if x.ndim > 1 else x[None, None],
    lambda x: x[..., :-1] if x.ndim else x,
    lambda x: torch.cat([x, x], x.ndim - 1) if x.ndim else x,
    lambda x: torch.cat([x, x]) if x.ndim else x,
    lambda x: x.new_zeros((0, *x.shape[1:])),
    lambda x: x.new_zeros(1).expand(300, 300),
    lambda x: x[None, None, None, None, None],
)
RECAST: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: torch.full_like(x, torch.nan, dtype=torch.float32),
    lambda x: torch.full_like(x, -torch.inf, dtype=torch.float32),
    lambda x: torch.full_like(x, 3e38, dtype=torch.float32),
    lambda x: torch.zeros_like(x),
    lambda x: x.to(torch.complex64),
    lambda x: x.to(torch.bool),
    lambda x: x.to(torch.uint8),
    lambda x: x.to(torch.float64),
    lambda x: x.to(torch.bfloat16),
)


def damaged(rng: random.Random, checkpoint: Checkpoint) -> tuple[str, Checkpoint]:
    """Change one to three things in a checkpoint; say what, and return the other checkpoint."""
    tensors, metadata = dict(checkpoint.tensors), dict(checkpoint.metadata)
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(6)
        name = rng.choice(sorted(tensors))
        if kind == 0:
            del tensors[name]
        elif kind == 1:
            tensors[_renamed(rng, name, sorted(tensors))] = tensors.pop(name)
        elif kind == 2 and metadata:
            metadata = _mapping(changed(rng, metadata))
        elif kind == 3:
            tensors[name] = rng.choice(RECAST)(tensors[name])
        else:
            tensors[name] = rng.choice(RESHAPED)(tensors[name])
        done.append(f"{('without', 'renamed', 'metadata', 'recast', 'reshaped', 'reshaped')[kind]} {name}")
        if not tensors:
            break
    return ", ".join(done), dataclasses.replace(checkpoint, tensors=tensors, metadata=metadata)


def _renamed(rng: random.Random, name: str, others: list[str]) -> str:
    return rng.choice(
        (rng.choice(others), f"{name}x", f"module.{name}", name.replace("0", "1"), name.replace("1", "99"))
    )


def _mapping(tree: Any) -> dict[str, Any]:
    return tree if isinstance(tree, dict) else {}
