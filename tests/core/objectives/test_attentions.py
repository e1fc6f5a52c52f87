"""Views, against crops made by slicing by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganenc.images import draw_boxes
from ganenc.objectives import Attention, CenterAttention, NoAttention, View, pictures
from ganenc_registry.errors import SpecError
from torch import Tensor


def resize_axis(image: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Bilinear enlargement along one axis, pixel centres aligned, edges repeated."""
    count = image.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, count - 1)
    shape = [1] * image.ndim
    shape[axis] = size
    part = (position - low).reshape(shape)
    return np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 64)])
def test_center_crops_what_figure_5_says(height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width, dtype=torch.float64)
    views = CenterAttention().views(image, CenterAttention().prepare(image))
    assert [(view.name, view.weight) for view in views] == [("image", 1.0), ("at1", 0.375), ("at2", 0.625)]
    assert views[0].image is image
    pixels = image.numpy()
    first = pixels[:, :, :, width // 8 : width - width // 8]
    rows, columns = height * 5 // 32, width * 5 // 32
    second = pixels[:, :, rows : height - rows, columns : width - columns]
    for view, crop in ((views[1], first), (views[2], second)):
        wanted = resize_axis(resize_axis(crop, height, 2), width, 3)
        assert np.abs(view.image.numpy() - wanted).max() < 1e-12


def test_the_crop_keeps_three_quarters_and_69_percent() -> None:
    ramp = torch.arange(1024.0).view(1, 1, 1, 1024).expand(1, 1, 1024, 1024)
    _, at1, at2 = CenterAttention().views(ramp)
    assert (at1.image.min(), at1.image.max()) == (128, 1024 - 128 - 1)
    assert (at2.image.min(), at2.image.max()) == (160, 1024 - 160 - 1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (33, 50)])
def test_odd_and_tiny_sizes_keep_their_shape(size: tuple[int, int]) -> None:
    for view in CenterAttention().views(torch.rand(1, 1, *size)):
        assert view.image.shape == (1, 1, *size)


def test_the_crop_grows_so_antialiasing_changes_nothing() -> None:
    image = torch.rand(1, 3, 48, 40)
    _, at1, _ = CenterAttention().views(image)
    resized = torch.nn.functional.interpolate(image[..., 5:-5], size=(48, 40), mode="bilinear", antialias=True)
    assert torch.allclose(at1.image, resized, atol=1e-6)


def test_each_view_lets_the_gradient_through_where_it_looks() -> None:
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    seen = []
    for view in CenterAttention().views(image):
        (gradient,) = torch.autograd.grad(view.image.sum(), image)
        seen.append((gradient != 0)[0, 0])
    assert seen[0].all()
    wanted = torch.zeros(32, 32, dtype=torch.bool)
    wanted[:, 4:28] = True
    assert torch.equal(seen[1], wanted)
    wanted[:5] = wanted[27:] = False
    wanted[:, :5] = wanted[:, 27:] = False
    assert torch.equal(seen[2], wanted)


def test_weights_can_be_chosen_and_a_view_of_weight_0_is_left_out() -> None:
    image = torch.rand(1, 1, 16, 16)
    assert [view.weight for view in CenterAttention.of(weights=(5, 9)).views(image)] == [1.0, 5.0, 9.0]
    assert [view.name for view in CenterAttention.of(weights=(0.375, 0)).views(image)] == ["image", "at1"]
    with pytest.raises(SpecError, match="weights"):
        CenterAttention.of(weights=(1, 2, 3))


def test_none_is_the_image_alone() -> None:
    image = torch.rand(1, 1, 16, 16)
    (view,) = NoAttention().views(image, NoAttention().prepare(image, labels=None))
    assert (view.name, view.weight) == ("image", 1.0)
    assert view.image is image


def test_an_attention_has_to_say_what_its_views_are() -> None:
    class Half(Attention):
        def prepare(self, target: Tensor, **context: object) -> None:
            return None

    with pytest.raises(TypeError, match="views"):
        Half()  # type: ignore[abstract]


def test_an_attention_with_views_alone_shows_these_and_has_no_region() -> None:
    class Negative(Attention):
        def views(self, image: Tensor, focus: object) -> list[View]:
            return [View("image", 1.0, image), View("at1", 2.0, -image)]

    image = torch.rand(2, 1, 8, 8)
    attention = Negative()
    focus = attention.prepare(image)
    assert (attention.heat(image, focus), attention.region(image, focus), attention.classes(image, focus)) == (
        None,
    ) * 3
    shown = pictures(attention, image, focus)
    assert list(shown) == ["image", "at1"]
    assert torch.equal(shown["at1"], -image)


def test_center_shows_the_boxes_that_it_crops() -> None:
    image = torch.rand(2, 3, 64, 32) * 2 - 1
    center = CenterAttention()
    assert center.region(image).tolist() == [[0, 4, 64, 24]] * 2
    shown = pictures(center, image, None)
    assert list(shown) == ["image", "boxes", "at1", "at2"]
    wanted = draw_boxes(image, [torch.tensor([[0, 4, 64, 24]] * 2), torch.tensor([[10, 5, 44, 22]] * 2)])
    assert torch.equal(shown["boxes"], wanted)
    assert list(pictures(NoAttention(), image, None)) == ["image"]
