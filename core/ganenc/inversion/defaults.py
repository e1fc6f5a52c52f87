"""What is taken where a user does not choose. Imports nothing."""

EDITABLE = {"name": "optimize", "options": {"steps": 100, "rate": 0.05}}
"""How photos are inverted to be edited where there is an encoder: as close as others, and edits still take
(benchmarks/results/editing.md)."""


def default_method(has_encoder: bool) -> str:
    """The inverter: the best at 20 seconds a photo (benchmarks/results/inversion.md); the only one without encoder."""
    return "finetune+refine" if has_encoder else "optimize"
