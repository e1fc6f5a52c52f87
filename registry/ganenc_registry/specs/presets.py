"""Runs with the paper's numbers, and our own, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs.run import RunSpec

__all__ = ["PRESETS", "preset"]

PAPER_ENCODER = {"start": "zero", "head_gain": 1.0, "map_gain": 1.0, "residual": 0.111}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Strategy 1 as its published code does it: no image gradient, so the latent loss alone trains the encoder.
        "paper-pretrain-s1": {
            "task": "pretrain",
            "encoder": {"overrides": PAPER_ENCODER},
            "objective": {"attention": {"name": "center", "weights": (1.0, 1.0)}, "image_gradient": False},
            "data": {"samples": 30_000},
            "epochs": 7,
        },
        # Strategy 2: image gradients, heavy views, and a blur before the second convolution of a block.
        "paper-pretrain-s2": {
            "task": "pretrain",
            "encoder": {"overrides": {**PAPER_ENCODER, "blur": True}},
            "objective": {"attention": {"name": "center", "weights": (5.0, 9.0)}},
            "data": {"samples": 30_000},
            "epochs": 7,
        },
        # Section 4.1: 3,500 iterations a photo.
        "paper-finetune": {
            "task": "finetune",
            "objective": {"attention": {"name": "center", "weights": (0.375, 0.625)}},
            "data": {"batch": 1},
            "steps": 3500,
        },
        # What we train with: the paper's objective, a start at the mean image and a rate that falls to nothing.
        "pretrain": {
            "task": "pretrain",
            "optimiser": {"schedule": "cosine", "warmup": 100, "betas": (0.9, 0.99)},
            "steps": 20_000,
        },
        "finetune": {
            "task": "finetune",
            "optimiser": {"schedule": "cosine", "warmup": 100, "betas": (0.9, 0.99)},
            "steps": 3000,
        },
    }
)


def preset(name: str, **fields: Any) -> RunSpec:
    """The run of that name, with some fields given anew (mappings are merged, field by field).

    Raises:
        SpecError: if there is no such preset, or a field is wrong.
    """
    if name not in PRESETS:
        raise SpecError(f"There is no preset {name!r}{nearest(name, PRESETS)}; presets are {', '.join(PRESETS)}.")
    return RunSpec.from_mapping(merge(PRESETS[name], fields), where=f"the preset {name}")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``over``; where both hold a mapping, these are merged.

    A text over a mapping that has a ``name`` changes that name alone.
    """
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        if isinstance(mine, Mapping) and "name" in mine and isinstance(value, str):
            value = {"name": value}
        merged[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return merged
