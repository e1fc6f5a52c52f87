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

NEAR = 1e-6
"""Parts of a pixel that are rounding."""
REACH = 4
"""Pixels beyond a part that is cut out before it is sampled: what the filters reach."""


def warp(image: Tensor, matrix: Any, size: tuple[int, int]) -> Tensor:
    """An image (C, H, W) resampled to ``size`` under ``matrix`` (2, 3), float64, that takes its points (x, y, 1) to
    those of the result, pixels' middles at halves: antialiased, within the image's values, mirrored outside."""
    if np.array_equal(matrix, np.eye(2, 3)) and tuple(image.shape[1:]) == tuple(size):
        return image.clone()
    box = _box(image, matrix, size)
    result = _turned(image, matrix, size) if box is None else _resampled(image, size, box)
    return result.clamp(image.amin(), image.amax())


def covered(
    matrix: Any, size: tuple[int, int], whole: tuple[int, int], frame: tuple[int, int, int, int], feather: float
) -> Tensor:
    """How much a map's result (``matrix``, ``size``: see `warp`) covers the pixels of a part of its image, (bottom -
    top, right - left), from 0 to 1. ``whole`` is the image's size, ``frame`` the part's top, left, bottom and right;
    over ``feather`` pixels the cover grows from 0 to 1, but not along the image's own border."""
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


def undone(matrix: Any) -> Any:
    """The map back, (3, 3)."""
    return np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))


def _box(image: Tensor, matrix: Any, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of what an upright map takes from inside the image; None for any other map."""
    (x, across, left), (along, y, top) = matrix.tolist()
    if across or along or x <= 0 or y <= 0:
        return None
    box = (-left / x, -top / y, (size[1] - left) / x, (size[0] - top) / y)
    beyond = max(-box[0], -box[1], box[2] - image.shape[2], box[3] - image.shape[1])
    return None if beyond > NEAR else box


def _resampled(image: Tensor, size: tuple[int, int], box: tuple[float, float, float, float]) -> Tensor:
    """A box of an image (left, top, right, bottom) at a size; nothing outside the pixels of the box goes into it."""
    left, top = math.floor(box[0] + NEAR), math.floor(box[1] + NEAR)
    image = image[:, top : math.ceil(box[3] - NEAR), left : math.ceil(box[2] - NEAR)]
    right, bottom = min(box[2] - left, image.shape[2]), min(box[3] - top, image.shape[1])
    edges = (max(box[0] - left, 0.0), max(box[1] - top, 0.0), right, bottom)
    planes = [Image.fromarray(plane) for plane in image.detach().float().cpu().numpy()]
    made = np.stack([np.asarray(resample(plane, (size[1], size[0]), edges)) for plane in planes])
    return torch.from_numpy(made).to(image)


def _turned(image: Tensor, matrix: Any, size: tuple[int, int]) -> Tensor:
    """Any map: the part that is needed, made smaller first where the map shrinks it, then sampled bicubically."""
    part, matrix = _cut(image, matrix, size)
    height, width = part.shape[1:]
    scales = np.hypot(matrix[0, :2], matrix[1, :2])
    small = [max(1, round(side * min(1.0, scale))) for side, scale in zip((height, width), scales[::-1])]
    if small != [height, width]:
        part = _resampled(part, (small[0], small[1]), (0.0, 0.0, float(width), float(height)))
    # From the result's places to the part's, both from -1 to 1.
    wide, high = size[1] / 2, size[0] / 2
    there = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]]) @ undone(matrix)
    theta = torch.from_numpy((there @ np.array([[wide, 0, wide], [0, high, high], [0, 0, 1]]))[None, :2])
    places = F.affine_grid(theta, [1, 1, *size], align_corners=False).to(image.device, torch.float32)
    options = {"mode": "bicubic", "padding_mode": "reflection", "align_corners": False}
    return F.grid_sample(part[None].float(), places, **options)[0].to(image)  # type: ignore[arg-type]


def _cut(image: Tensor, matrix: Any, size: tuple[int, int]) -> tuple[Tensor, Any]:
    """The part of an image that lies under the result of a map, with what filters reach, and the map from there."""
    corners = undone(matrix) @ np.array([(0, 0, 1), (size[1], 0, 1), (0, size[0], 1), (size[1], size[0], 1)]).T
    reach = REACH * max(1.0, *(1.0 / np.hypot(matrix[0, :2], matrix[1, :2])))
    edges = []
    for places, side in zip(corners[:2], (image.shape[2], image.shape[1])):
        low, high = math.floor(places.min() - reach), math.ceil(places.max() + reach)
        edges.append((0, side) if low < 0 or high > side else (low, high))  # Mirroring needs all that lies inside.
    (left, right), (top, bottom) = edges
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (left, top)
    return image[:, top:bottom, left:right], shifted
