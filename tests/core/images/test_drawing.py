"""Pictures for people: their colours, their boxes, their sheets."""

from __future__ import annotations

import pytest
import torch
from ganenc.images import BOX_COLOURS, CELL, colours_of, convert_range, draw_boxes, heat_over, sheet, to_rgb


def test_heat_grows_lighter_from_0_to_1() -> None:
    ramp = torch.linspace(0, 1, 50).reshape(1, 1, 1, 50)
    light = colours_of(ramp).mean(1).flatten()
    assert (light.diff() > 0).all()
    odd = colours_of(torch.tensor([float("nan"), -1.0, 2.0]).reshape(1, 1, 1, 3))
    assert torch.equal(odd[..., 0], odd[..., 1]), "what is no number has no heat"
    assert torch.equal(odd[..., 1], colours_of(torch.zeros(1, 1, 1, 1))[..., 0])
    assert torch.equal(odd[..., 2], colours_of(torch.ones(1, 1, 1, 1))[..., 0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 10])
def test_the_range_of_values_changes_no_picture(channels: int) -> None:
    images, heat = torch.rand(2, channels, 9, 7) * 2 - 1, torch.rand(2, 1, 9, 7)
    boxes = [torch.tensor([[1, 2, 5, 4], [0, 0, 9, 7]])]
    for draw, what in ((heat_over, heat), (draw_boxes, boxes)):
        one, other = draw(images, what), draw((images + 1) * 127.5, what, (0.0, 255.0))
        assert one.shape == (2, 3, 9, 7)
        assert torch.allclose((one + 1) * 127.5, other, atol=1e-3)
        assert (one.min(), one.max()) >= (-1, -1)
        assert one.max() <= 1


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_colours_of_any_number_of_channels(kind: torch.dtype) -> None:
    images = (torch.rand(2, 10, 4, 5) * 200).to(kind)
    assert torch.equal(to_rgb(images[:, :4]), images[:, :3])
    assert torch.equal(to_rgb(images[0, :3]), images[0, :3])
    for channels in (1, 2, 10):
        wanted = images[:, :channels].double().mean(1)
        assert (to_rgb(images[:, :channels])[:, 2].double() - wanted).abs().max() < (1 if kind == torch.uint8 else 1e-4)


def test_greys_show_through_the_heat() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[..., :2] = 1.0
    made = heat_over(image, torch.full((1, 1, 4, 4), 0.5))
    assert (made[..., 0] > made[..., 3]).all()


def test_boxes_are_outlined_just_inside() -> None:
    images = torch.zeros(2, 3, 20, 30)
    made = draw_boxes(images, [torch.tensor([[2, 3, 10, 12], [0, 0, 20, 30]]), torch.tensor([[5, 6, 4, 4]] * 2)])
    first, second = (torch.tensor(colour) * 2 - 1 for colour in BOX_COLOURS[:2])
    assert torch.allclose(made[0, :, 2, 3:15], first[:, None].expand(3, 12))
    assert torch.allclose(made[0, :, 11, 3:15], first[:, None].expand(3, 12))
    assert torch.allclose(made[0, :, 2:12, 14], first[:, None].expand(3, 10))
    assert (made[0, :, 3, 4:14] == -1).all(), "dark inside the line"
    assert (made[0, :, :2] == 0).all()
    assert (made[0, :, 12:] == 0).all()
    assert torch.allclose(made[1, :, 5, 6:10], second[:, None].expand(3, 4))
    assert torch.allclose(made[1, :, 0], first[:, None].expand(3, 30))


def test_sheets_enlarge_small_pictures_and_keep_large_ones() -> None:
    # 8 bits, so that what is wanted is exact; `test_to_uint8_clamps_and_rounds` says what floats become.
    small, large = (torch.randint(256, shape, dtype=torch.uint8) for shape in ((1, 100, 60), (3, 300, 280)))
    made = sheet([{"small": small, "a name that is longer than its picture is wide": small}, {"large": large}])
    times = CELL // 100
    assert made.dtype == torch.uint8
    assert made.shape[1] == 8 + 20 + 100 * times + 8 + 20 + 300 + 8
    part = made[:, 28 : 28 + 100 * times : times, 8 : 8 + 60 * times : times]
    assert torch.equal(part, small.expand(3, -1, -1))
    below = 8 + 20 + 100 * times + 8 + 20
    assert torch.equal(made[:, below : below + 300, 8:288], large)
    floats = convert_range(large.double(), (0.0, 255.0), (-1.0, 1.0)).float()
    assert torch.equal(sheet([{"large": floats}])[:, 28:328, 8:288], large), "floats that are 8 bits, back again"
    assert (made[:, 10:24, 8:50] < 128).any(), "a name is written"
