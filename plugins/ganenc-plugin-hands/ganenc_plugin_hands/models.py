"""Where the shipped models and photos lie. Imports no torch."""

from pathlib import Path

__all__ = ["HANDS_CLASSIFIER", "MODELS", "PHOTOS", "ZOO"]

ZOO = Path(__file__).parent / "zoo"

HANDS_CLASSIFIER = ZOO / "hands-classifier"
PHOTOS = ZOO / "photos"
"""The twelve photos kept out of all training, as ``<digit>-<name>.jpg``."""

STYLEGAN1_HANDS64 = ZOO / "stylegan1-hands64"
STYLEGAN2_HANDS64 = ZOO / "stylegan2-hands64"
PGGAN_HANDS64 = ZOO / "pggan-hands64"
BIGGAN_HANDS64 = ZOO / "biggan-hands64"
MODELS = ("stylegan1-hands64", "stylegan2-hands64", "pggan-hands64", "biggan-hands64")
"""The generators of the zoo, each with its encoders."""
