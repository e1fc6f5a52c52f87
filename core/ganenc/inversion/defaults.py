"""What is taken where a user does not choose. Imports nothing."""

__all__ = ["default_method"]


def default_method(has_encoder: bool) -> str:
    """The inverter: the best at 20 seconds a photo (benchmarks/results/inversion.md); the only one without encoder."""
    return "finetune+refine" if has_encoder else "optimize"
