"""What is taken where a user does not choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from ganenc_registry.specs import ObjectiveSpec

Purpose: TypeAlias = Literal["both", "rebuild", "edit", "restore"]
"""What an inversion is for."""
MIXABLE = {"name": "optimize", "options": {"steps": 100, "rate": 0.05}}
"""How photos are inverted to be mixed or interpolated where there is an encoder: the generator's weights stay as they
are, which tuning does not leave them."""
CLOSE = ObjectiveSpec.from_mapping({"losses": {"mse": 1.0}, "attention": "none"})
"""What "close" means where pixels alone are compared, which every generator has."""
RESTORES = {"steps": 200, "free": [], "prior": 0.003}
"""How latents are sought to restore photos (benchmarks/results/restoring.md)."""


def default_method(has_encoder: bool, purpose: Purpose = "both") -> dict[str, Any]:
    """The inverter and its options: `tune` keeps edits, all else rebuilds (benchmarks/results/editing.md); without an
    encoder, latents alone are sought unless it is to edit. To restore, they are held to what the generator draws."""
    if purpose == "restore":
        return {"name": "optimize", "options": RESTORES}
    if purpose == "edit":
        return {"name": "tune", "options": {"edits": 1.0}}
    if not has_encoder:
        return {"name": "optimize", "options": {}}
    return {"name": "tune" if purpose == "both" else "finetune+refine", "options": {}}


def another_answer(method: Mapping[str, Any]) -> dict[str, Any]:
    """The method by which another seed finds another answer: one that would start at the encoder starts at draws."""
    options = {**({"start": "draws"} if method["name"] in ("newton", "optimize") else {}), **method.get("options", {})}
    return {"name": method["name"], "options": options}
