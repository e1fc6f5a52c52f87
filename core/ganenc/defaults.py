"""What is taken where a user does not choose. Imports nothing."""

__all__ = ["METHOD"]

METHOD = "optimize"
"""The inverter: the best of those measured at equal time (benchmarks/results/inversion.md)."""
