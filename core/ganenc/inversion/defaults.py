"""What is taken where a user does not choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from ganenc_registry.specs import ObjectiveSpec, Part, Styles, Vector

Purpose: TypeAlias = Literal["both", "rebuild", "edit", "restore", "fill"]
"""What an inversion is for: to restore where all was seen in some way, to fill where parts were not."""
MIXABLE = {"name": "optimize", "options": {"steps": 100, "rate": 0.05}}
"""How photos are inverted to be mixed or interpolated where there is an encoder: the generator's weights stay as they
are, which tuning does not leave them."""
CLOSE = ObjectiveSpec.from_mapping({"losses": {"mse": 1.0}, "attention": "none"})
"""What "close" means where pixels alone are compared, which every generator has."""
RESTORES = {"steps": 40, "near": 0.01}
FILLS = {"steps": 200, "free": [], "prior": 0.003}
"""How `newton` restores photos, and `optimize` fills them (benchmarks/results/restoring.md)."""


def default_method(
    has_encoder: bool, purpose: Purpose = "both", layout: Iterable[Part] | None = None
) -> dict[str, Any]:
    """The inverter and its options: `tune` keeps edits, all else rebuilds (benchmarks/results/editing.md); without an
    encoder, latents alone are sought unless it is to edit. To restore, they stay near the encoder's; to fill, or where
    there is none or a known layout has no styles or vectors, they are held to what the generator draws."""
    if purpose in ("restore", "fill"):
        moves = layout is None or any(isinstance(part, Styles | Vector) for part in layout)
        if purpose == "restore" and has_encoder and moves:
            return {"name": "newton", "options": RESTORES}
        return {"name": "optimize", "options": FILLS}
    if purpose == "edit":
        return {"name": "tune", "options": {"edits": 1.0}}
    if not has_encoder:
        return {"name": "optimize", "options": {}}
    return {"name": "tune" if purpose == "both" else "finetune+refine", "options": {}}


def another_answer(method: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The method by which another seed finds another answer: one that would start at the encoder starts at draws, from
    where by default photos are filled, which comes nearer from there (benchmarks/results/restoring.md)."""
    method = method or default_method(True, "fill")
    options = {**({"start": "draws"} if method["name"] in ("newton", "optimize") else {}), **method.get("options", {})}
    return {"name": method["name"], "options": options}
