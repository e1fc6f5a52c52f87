"""Directions: ways to edit, which know their space and model."""
