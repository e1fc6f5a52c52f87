"""What is taken where a user does not choose."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Purpose: TypeAlias = Literal["both", "rebuild", "edit"]
"""What an inversion is for."""
MIXABLE = {"name": "optimize", "options": {"steps": 100, "rate": 0.05}}
"""How photos are inverted to be mixed or interpolated where there is an encoder: the generator's weights stay as they
are, which tuning does not leave them."""


def default_method(has_encoder: bool, purpose: Purpose = "both") -> dict[str, Any]:
    """The inverter and its options: `tune` keeps edits, all else rebuilds (benchmarks/results/editing.md); without an
    encoder, latents alone are sought unless it is to edit."""
    if purpose == "edit":
        return {"name": "tune", "options": {"edits": 1.0}}
    if not has_encoder:
        return {"name": "optimize", "options": {}}
    return {"name": "tune" if purpose == "both" else "finetune+refine", "options": {}}
