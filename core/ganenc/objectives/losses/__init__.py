"""Losses between a view of a target and the same view of its reconstruction (paper, Equation 3)."""
