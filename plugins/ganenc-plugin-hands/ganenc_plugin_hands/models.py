"""Where the shipped models and photos lie. Imports no torch."""

from pathlib import Path

__all__ = ["HANDS_CLASSIFIER", "PHOTOS", "STYLEGAN2_HANDS64"]

ZOO = Path(__file__).parent / "zoo"

HANDS_CLASSIFIER = ZOO / "hands-classifier"
STYLEGAN2_HANDS64 = ZOO / "stylegan2-hands64"
PHOTOS = ZOO / "photos"
"""The twelve photos kept out of all training, as ``<digit>-<name>.jpg``."""
