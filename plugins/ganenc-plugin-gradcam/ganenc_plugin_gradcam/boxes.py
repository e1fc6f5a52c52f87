"""Boxes around what heat maps mark, and crops at them (not in the paper, which has no crops of misaligned images)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ganenc.objectives import precise
from kornia.contrib import connected_components
from kornia.filters import gaussian_blur2d
from kornia.geometry.subpix import spatial_expectation2d
from kornia.geometry.transform import remap
from torch import Tensor
from torch.nn import functional as F

__all__ = ["crop", "find_boxes", "find_regions"]

GRID = 32
"""The longest side on which regions are sought, in cells."""
BLUR = 0.125
"""The deviation of the blur, as a part of each side. It makes one region of an object's parts, and of two regions lets
the one with more mass win, not the one with the higher peak."""


def find_boxes(
    maps: Tensor, thresholds: Sequence[float], *, least: float = 0.25, most: Sequence[float] | None = None
) -> list[Tensor]:
    """A box for each threshold around the region that a map marks most.

    The region is the connected one around the peak of the blurred map where that is above the threshold (a part of the
    peak). All boxes of a map stand around one centre, the centre of the map's mass in the region of the highest
    threshold; each is as large as its own region, of the shape of the map, and moved to lie within it. A map without a
    peak (all values alike) is taken whole.

    Args:
        maps: (N, 1, H, W), of 0 or more.
        thresholds: above 0 and below 1.
        least: the least side of a box, as a part of the map's sides.
        most: the greatest side of the box of each threshold; by default three quarters.

    Returns:
        for each threshold (N, 4), int64: top, left, height and width in pixels.
    """
    height, width = maps.shape[-2:]
    coarse, blurred, flat = _coarse(maps)
    y, x = _center(coarse * _region(blurred, max(thresholds)))
    boxes = []
    for threshold, limit in zip(thresholds, most or [0.75] * len(thresholds), strict=True):
        region = _region(blurred, threshold)[:, 0]
        rows, columns = region.amax(2).mean(1), region.amax(1).mean(1)
        size = torch.maximum(rows, columns).clamp(least, limit)
        sides = [(size * side).round().clamp(1, side) for side in (height, width)]
        starts = [
            torch.minimum((middle * side - length / 2).round().clamp_min(0), side - length)
            for middle, length, side in zip((y, x), sides, (height, width), strict=True)
        ]
        box = torch.stack([*starts, *sides], 1)
        whole = box.new_tensor([0, 0, height, width])
        boxes.append(torch.where(flat[:, None], whole, box).long())
    return boxes


def find_regions(maps: Tensor, threshold: float) -> Tensor:
    """The rectangle around the region that a map marks most, as `find_boxes` has it, as tight as its cells.

    Args:
        maps: (N, 1, H, W), of 0 or more.
        threshold: the part of the blurred map's peak above which the region lies, above 0 and below 1.

    Returns:
        (N, 4), int64: top, left, height and width in pixels.
    """
    _, blurred, flat = _coarse(maps)
    region = _region(blurred, threshold)[:, 0] > 0
    ends = []
    for along, pixels in ((region.any(2), maps.shape[-2]), (region.any(1), maps.shape[-1])):
        cells = along.shape[1]
        first = along.int().argmax(1)
        last = cells - along.flip(1).int().argmax(1)
        start, end = ((place * pixels / cells).round().long() for place in (first, last))
        ends.append((torch.where(flat, 0, start), torch.where(flat, pixels, end)))
    (top, bottom), (left, right) = ends
    return torch.stack([top, left, bottom - top, right - left], 1)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut a box out of each image and resize it bilinearly to the size of the image. Differentiable.

    Equal to ``F.interpolate(image[box], mode="bilinear", align_corners=False)``, for boxes that differ.

    Args:
        images: (N, C, H, W).
        boxes: (N, 4): top, left, height and width in pixels.

    Returns:
        (N, C, H, W).
    """
    exact = precise(images)
    top, left, height, width = boxes.to(exact.dtype).unbind(1)
    rows, columns = _places(top, height, images.shape[-2]), _places(left, width, images.shape[-1])
    shape = (len(images), *images.shape[-2:])
    y, x = rows[:, :, None].expand(shape), columns[:, None, :].expand(shape)
    return remap(exact, x, y, mode="bilinear", padding_mode="border", align_corners=True).to(images.dtype)


def _coarse(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps in cells, the same blurred, both (N, 1, h, w), and which of them (N,) have no peak."""
    height, width = maps.shape[-2:]
    shrink = min(1.0, GRID / max(height, width))
    grid = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    coarse = F.adaptive_avg_pool2d(maps.float(), grid)
    return coarse, _blur(coarse), maps.amax((1, 2, 3)) == maps.amin((1, 2, 3))


def _places(start: Tensor, length: Tensor, count: int) -> Tensor:
    """Where along one side each of ``count`` pixels comes from: (N, count), within the box."""
    centers = torch.arange(count, device=start.device, dtype=start.dtype) + 0.5
    inside = centers * (length / count)[:, None] - 0.5
    return start[:, None] + torch.minimum(inside.clamp_min(0), length[:, None] - 1)


def _blur(maps: Tensor) -> Tensor:
    """Blur maps (N, 1, h, w) with zeros around, as mass counts that is there."""
    deviations = [BLUR * side for side in maps.shape[-2:]]
    kernel = [2 * max(1, round(3 * deviation)) + 1 for deviation in deviations]
    return gaussian_blur2d(maps, (kernel[0], kernel[1]), (deviations[0], deviations[1]), border_type="constant")


def _region(blurred: Tensor, threshold: float) -> Tensor:
    """1 in the connected part around each peak above ``threshold`` of it, 0 elsewhere: (N, 1, h, w)."""
    peak, place = blurred.flatten(1).max(1)
    above = (blurred > threshold * peak[:, None, None, None]).to(blurred.dtype)
    labels = connected_components(above, num_iterations=4 * GRID)
    wanted = labels.flatten(1).gather(1, place[:, None])[:, :, None, None]
    return ((labels == wanted) & (above > 0)).to(blurred.dtype)


def _center(mass: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of mass of maps (N, 1, h, w), as parts of the height and the width: (N,) each."""
    shares = mass / mass.sum((2, 3), keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)
    x, y = spatial_expectation2d(shares, normalized_coordinates=False)[:, 0].unbind(1)
    return (y + 0.5) / mass.shape[2], (x + 0.5) / mass.shape[3]
