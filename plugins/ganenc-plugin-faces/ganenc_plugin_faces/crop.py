"""The crop of aligned faces: eyes and mouth => where the generator's image lies in the photo."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from ganenc.inversion import Transform
from ganenc_registry.errors import ImageError

__all__ = ["COUNTS", "Points", "face_transform", "features"]

Points: TypeAlias = Any
"""Landmarks, float64 (P, 2): x and y in pixels of the photo, the middle of the first pixel at (0.5, 0.5)."""

COUNTS = {4: "eyes and corners of the mouth", 5: "eyes, nose and corners of the mouth", 68: "the 68 of iBUG 300-W"}
"""How many landmarks are understood, and which they are; left comes before right, as the photo shows them."""

_MOUTH = (48, 54)
_EYES = (slice(36, 42), slice(42, 48))


def features(points: Points) -> Points:
    """4, 5 or 68 landmarks => left eye, right eye, left and right corner of the mouth (4, 2).

    Of 68, an eye is the mean of its six (Karras et al., 2019, published recipe of FFHQ).

    Raises:
        ImageError: if they are another number of landmarks, or not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in COUNTS or not np.isfinite(points).all():
        known = ", ".join(f"{count} ({which})" for count, which in COUNTS.items())
        raise ImageError(f"Landmarks of a face are {known}, each x and y; these are {points.shape}, or not finite.")
    if len(points) == 68:
        return np.stack([*(points[eye].mean(0) for eye in _EYES), *(points[corner] for corner in _MOUTH)])
    return points if len(points) == 4 else points[[0, 1, 3, 4]]


def face_transform(points: Points, size: tuple[int, int], photo_size: tuple[int, int]) -> Transform:
    """Landmarks => the crop of CelebA-HQ (Karras et al., 2018, appendix C) and FFHQ (Karras et al., 2019).

    With e from eye to eye and m from between the eyes to the middle of the mouth, the image's horizontal axis has the
    direction of e and of m turned by a right angle, added; the crop is a square of twice max(2 \\|e\\|, 1.8 \\|m\\|)
    around the point between the eyes, moved by 0.1 m. An image that is no square shows more on its longer side.

    Args:
        points: 4, 5 or 68 landmarks (P, 2).
        size: height and width of the generator's image.
        photo_size: height and width of the photo.

    Raises:
        ImageError: if there are other landmarks, or they are those of no face.
    """
    left, right, mouth_left, mouth_right = features(points)
    between = (left + right) / 2
    e, m = right - left, (mouth_left + mouth_right) / 2 - between
    if not e[0] * m[1] - e[1] * m[0] > 1e-9 * max(e @ e, m @ m):
        raise ImageError(
            "The landmarks are those of no face: seen from the eyes, the mouth is not below; left and right are meant"
            " as the photo shows them."
        )
    across = e - _turned(m)
    across /= np.hypot(*across)
    half = max(2.0 * np.hypot(*e), 1.8 * np.hypot(*m))
    rows = np.stack([across, _turned(across)]) * (min(size) / (2 * half))
    shift = np.array([size[1] / 2, size[0] / 2]) - rows @ (between + 0.1 * m)
    first, second = np.column_stack([rows, shift]).tolist()
    return Transform(matrix=(tuple(first), tuple(second)), size=size, photo_size=photo_size)


def _turned(vector: Points) -> Points:
    """A vector turned by a right angle, from rightwards to downwards."""
    return np.array([-vector[1], vector[0]])
