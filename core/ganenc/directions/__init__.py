"""Directions: ways to move latents that change one thing in the image. Not in the paper.

A `Direction` knows its space and its model and refuses those of others. Directions are found by labels, as
InterFaceGAN does (`find_by_labels`), by principal components, as GANSpace does (`find_by_pca`), between the classes of
a conditional generator (`between_classes`), or read from InterFaceGAN's files (`read_boundary`).
"""

from ganenc.directions._boundary import read_boundary
from ganenc.directions._components import find_by_pca
from ganenc.directions._direction import Direction
from ganenc.directions._finding import as_draws, between_classes, find_by_labels, label_draws, margin
from ganenc.directions._named import load_direction, of_model

__all__ = [
    "Direction",
    "as_draws",
    "between_classes",
    "find_by_labels",
    "find_by_pca",
    "label_draws",
    "load_direction",
    "margin",
    "of_model",
    "read_boundary",
]
