"""Boxes around what is marked, and crops against slices that are resized by torch."""

from __future__ import annotations

import pytest
import torch
from ganenc_plugin_gradcam.boxes import crop, find_boxes, find_regions
from torch import Tensor
from torch.nn import functional as F


def blob(y: float, x: float, deviation: float, size: tuple[int, int] = (60, 90)) -> Tensor:
    """A round mark of height 1 at these parts of the sides."""
    rows = (torch.arange(size[0]) + 0.5) / size[0] - y
    columns = (torch.arange(size[1]) + 0.5) / size[1] - x
    return torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * deviation**2))[None, None]


def middle(box: Tensor, size: tuple[int, int] = (60, 90)) -> tuple[float, float]:
    """The centre of a box, as parts of the sides."""
    top, left, height, width = box.tolist()
    assert 0 <= top <= top + height <= size[0]
    assert 0 <= left <= left + width <= size[1]
    assert abs(height / size[0] - width / size[1]) < 1 / size[0] + 1 / size[1], "the shape of the image"
    return (top + height / 2) / size[0], (left + width / 2) / size[1]


@pytest.mark.parametrize(("y", "x"), [(0.4, 0.35), (0.5, 0.5), (0.62, 0.45)])
def test_a_box_stands_around_its_mark(y: float, x: float) -> None:
    at1, at2 = find_boxes(blob(y, x, 0.06), (0.25, 0.5))
    for box in (at1, at2):
        assert middle(box[0]) == pytest.approx((y, x), abs=0.03)
    assert (at1[0, 2:] > at2[0, 2:]).all()
    # Two Gaussians convolved: half of the peak is reached at 1.18 deviations of sqrt(0.06^2 + 0.125^2).
    wanted = 2 * 1.177 * (0.06**2 + 0.125**2) ** 0.5
    assert at2[0, 2].item() / 60 == pytest.approx(wanted, abs=0.08)


def test_a_mark_in_a_corner_keeps_the_box_inside() -> None:
    (box,) = find_boxes(blob(0.02, 0.98, 0.05), (0.5,))
    y, x = middle(box[0])
    assert y < 0.5 < x
    assert box[0, 0] == 0
    assert box[0, 1] + box[0, 3] == 90


def test_mass_wins_over_a_peak_and_regions_are_not_mixed() -> None:
    wide, high = blob(0.25, 0.2, 0.08) * 0.8, blob(0.8, 0.85, 0.035)
    (box,) = find_boxes(wide + high, (0.5,))
    assert middle(box[0]) == pytest.approx((0.25, 0.2), abs=0.06)
    (other,) = find_boxes(wide + 8 * blob(0.8, 0.85, 0.08), (0.5,))
    y, x = middle(other[0])
    assert y > 0.5
    assert x > 0.5


def test_each_box_has_a_greatest_side_of_its_own() -> None:
    at1, at2 = find_boxes(blob(0.5, 0.5, 0.9), (0.25, 0.5), most=(0.75, 0.5))
    assert at1[0, 2:].tolist() == [45, 68]
    assert at2[0, 2:].tolist() == [30, 45]


def test_a_region_is_the_rectangle_around_what_is_marked_most() -> None:
    maps = torch.zeros(4, 1, 64, 128)
    maps[0, :, 20:40, 32:40] = 1.0
    maps[1, :, 20:40, 32:40] = 1.0
    maps[1, :, 60:, 120:] = 1.0
    maps[2] = 1.0
    maps[3, :, :4, :8] = 1.0
    tall, kept, whole, corner = find_regions(maps, 0.5).tolist()
    top, left, height, width = tall
    assert (top + height / 2, left + width / 2) == (30, 36)
    # Half of the peak of a bar, blurred: about the wider of the bar and 1.18 deviations on each side.
    assert height == pytest.approx(2 * 1.18 * (64 / 8) + 4, abs=6)
    assert width == pytest.approx(2 * 1.18 * (128 / 8), abs=8)
    assert kept == tall, "another region, not joined to it"
    assert whole == [0, 0, 64, 128]
    assert corner[:2] == [0, 0]
    assert torch.equal(find_regions(maps[:1], 0.5), find_regions(maps, 0.5)[:1])


def test_a_map_without_a_peak_is_taken_whole_and_others_never() -> None:
    maps = torch.cat([torch.ones(1, 1, 60, 90), blob(0.5, 0.5, 0.9), blob(0.5, 0.5, 0.001)])
    at1, at2 = find_boxes(maps, (0.25, 0.5))
    for box in (at1, at2):
        assert box[0].tolist() == [0, 0, 60, 90]
        assert box[1, 2:].tolist() == [45, 68]
        assert (box[2, 2:] >= torch.tensor([15, 22])).all()


def test_each_image_has_boxes_of_its_own() -> None:
    maps = torch.cat([blob(0.3, 0.3, 0.1), blob(0.7, 0.6, 0.05)])
    both = find_boxes(maps, (0.25, 0.5))
    for index in range(2):
        alone = find_boxes(maps[index : index + 1], (0.25, 0.5))
        assert all(torch.equal(a[index : index + 1], b) for a, b in zip(both, alone, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (17, 40), (1, 9)])
def test_a_crop_is_the_slice_resized(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 2, *size, dtype=torch.float64)
    height, width = size
    boxes = torch.tensor([[0, 0, height, width], [0, 2, max(1, height // 2), 5], [height - 1, width - 3, 1, 3]])
    found = crop(images, boxes)
    for image, one, (top, left, tall, wide) in zip(images, found, boxes.tolist(), strict=True):
        part = image[None, :, top : top + tall, left : left + wide]
        wanted = F.interpolate(part, size=size, mode="bilinear", align_corners=False)[0]
        assert torch.allclose(one, wanted, atol=1e-5)


def test_a_crop_lets_the_gradient_through_to_its_box_alone() -> None:
    images = torch.rand(2, 3, 20, 20, requires_grad=True)
    boxes = torch.tensor([[2, 3, 10, 12], [5, 5, 15, 15]])
    (found,) = torch.autograd.grad(crop(images, boxes).sum(), images)
    for gradient, (top, left, height, width) in zip(found, boxes.tolist(), strict=True):
        inside = torch.zeros(3, 20, 20, dtype=torch.bool)
        inside[:, top : top + height, left : left + width] = True
        assert (gradient[inside] > 0).all()
        assert gradient[~inside].abs().max() < 1e-3 * gradient[inside].max()
