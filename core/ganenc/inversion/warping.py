"""Resampling under affine maps, for `ganenc.inversion`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganenc.images import resample

__all__ = ["NEAR", "covered", "warp"]

NEAR = 1e-6
"""Parts of a pixel that are rounding."""
REACH = 4
"""Pixels beyond a part that is cut out before it is sampled: what the filters reach."""


def warp(image: Tensor, matrix: Any, size: tuple[int, int]) -> Tensor:
    """Resample an image under an affine map, with antialiasing where it shrinks.

    Args:
        image: (C, H, W), floats.
        matrix: (2, 3), float64: points (x, y, 1) of the image => points of the result, pixels' middles at halves.
        size: height and width of the result.

    Returns:
        (C, h, w), its values within those of the image. What lies outside the image is mirrored from inside.
    """
    if np.array_equal(matrix, np.eye(2, 3)) and tuple(image.shape[1:]) == tuple(size):
        return image.clone()
    box = _box(image, matrix, size)
    if box is None:
        result = _turned(image, matrix, size)
    else:
        result = _resampled(image, size, box)
    return result.clamp(image.amin(), image.amax())


def covered(
    matrix: Any, size: tuple[int, int], whole: tuple[int, int], frame: tuple[int, int, int, int], feather: float
) -> Tensor:
    """How much an affine map's result covers the pixels of its image.

    Args:
        matrix: as `warp` has it.
        size: height and width of the result.
        whole: height and width of the image.
        frame: top, left, bottom and right of the part of the image that is asked for.
        feather: over so many pixels the cover grows from 0 to 1; no such border lies along the image's own.

    Returns:
        (bottom - top, right - left), float64, from 0 to 1.
    """
    top, left, bottom, right = frame
    y = torch.arange(top, bottom, dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(left, right, dtype=torch.float64)[None, :] + 0.5
    share = torch.ones(bottom - top, right - left, dtype=torch.float64)
    outermost = [(column, row) for column in (0.5, whole[1] - 0.5) for row in (0.5, whole[0] - 0.5)]
    for (along, across, shift), side in zip(matrix, (size[1], size[0])):
        length = math.hypot(along, across)
        for sign, start in ((1.0, shift), (-1.0, side - shift)):
            inside = (sign * (along * x + across * y) + start) / length
            least = min((sign * (along * column + across * row) + start) / length for column, row in outermost)
            if least < 0.5 - NEAR:
                share = torch.minimum(share, ((inside + 0.5) / (1.0 + feather)).clamp(0.0, 1.0))
    return torch.where(share > 1.0 - NEAR, 1.0, share)


def _box(image: Tensor, matrix: Any, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of what an upright map takes from inside the image; None for any other map."""
    (x, across, left), (along, y, top) = matrix.tolist()
    if across or along or x <= 0 or y <= 0:
        return None
    box = (-left / x, -top / y, (size[1] - left) / x, (size[0] - top) / y)
    edges = (0.0, 0.0, float(image.shape[2]), float(image.shape[1]))
    beyond = max(edges[0] - box[0], edges[1] - box[1], box[2] - edges[2], box[3] - edges[3])
    if beyond > NEAR:
        return None
    return box


def _resampled(image: Tensor, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Tensor:
    """An image, or a box of it (left, top, right, bottom), brought to a size (height, width).

    Nothing of what lies outside the pixels of the box goes into it.
    """
    if box is not None:
        left, top = math.floor(box[0] + NEAR), math.floor(box[1] + NEAR)
        image = image[:, top : math.ceil(box[3] - NEAR), left : math.ceil(box[2] - NEAR)]
        edges = (max(box[0] - left, 0.0), max(box[1] - top, 0.0), box[2] - left, box[3] - top)
        box = (edges[0], edges[1], min(edges[2], image.shape[2]), min(edges[3], image.shape[1]))
    planes = [Image.fromarray(plane) for plane in image.detach().float().cpu().numpy()]
    made = np.stack([np.asarray(resample(plane, (size[1], size[0]), box)) for plane in planes])
    return torch.from_numpy(made).to(image)


def _turned(image: Tensor, matrix: Any, size: tuple[int, int]) -> Tensor:
    """Any map: the part that is needed, made smaller first where the map shrinks it, then sampled bicubically."""
    part, matrix = _cut(image, matrix, size)
    scales = np.hypot(matrix[0, :2], matrix[1, :2])
    small = [max(1, round(side * min(1.0, scale))) for side, scale in zip(part.shape[1:], scales[::-1])]
    if small != list(part.shape[1:]):
        stretch = (part.shape[2] / small[1], part.shape[1] / small[0])
        part = _resampled(part, (small[0], small[1]))
        matrix = matrix * np.array([*stretch, 1.0])
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    y = torch.arange(size[0], dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(size[1], dtype=torch.float64)[None, :] + 0.5
    places = [
        (row[0] * x + row[1] * y + row[2]) * (2.0 / side) - 1.0
        for row, side in zip(back, (part.shape[2], part.shape[1]))
    ]
    grid = torch.stack(places, -1)[None].to(device=image.device, dtype=torch.float32)
    sampled = F.grid_sample(part[None].float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return sampled[0].to(image)


def _cut(image: Tensor, matrix: Any, size: tuple[int, int]) -> tuple[Tensor, Any]:
    """The part of an image that lies under the result of a map, with what filters reach, and the map from there."""
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    corners = back @ np.array([(0, 0, 1), (size[1], 0, 1), (0, size[0], 1), (size[1], size[0], 1)]).T
    reach = REACH * max(1.0, *(1.0 / np.hypot(matrix[0, :2], matrix[1, :2])))
    edges = []
    for places, side in zip(corners[:2], (image.shape[2], image.shape[1])):
        low, high = math.floor(places.min() - reach), math.ceil(places.max() + reach)
        beyond = low < 0 or high > side  # Mirroring needs all that lies inside.
        edges.append((0, side) if beyond else (low, high))
    (left, right), (top, bottom) = edges
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (left, top)
    return image[:, top:bottom, left:right], shifted
