"""Alignment, against Pillow's resampling, known pictures, and the way back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import images
from ganenc.inversion import Aligner, AttentionAligner, BoxAligner, CenterAligner, Transform
from ganenc.objectives import Attention, View
from ganenc_registry.components import Context, build
from ganenc_registry.errors import ImageError, SpecError, UnknownNameError
from ganenc_registry.specs import Choice, Spec
from PIL import Image
from torch import Tensor


def smooth(height: int, width: int) -> Tensor:
    """A photo (3, height, width) without fine detail, from -1 to 1: its value at any place is known."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return value_at(x, y).float()


def value_at(x: Tensor, y: Tensor) -> Tensor:
    waves = ((0.05, 0.03), (-0.04, 0.06), (0.02, -0.05))
    return torch.stack([torch.sin(a * x + b * y) * 0.9 for a, b in waves])


def turn(degrees: float, scale: float, centre: tuple[float, float], size: tuple[int, int], photo: Any) -> Transform:
    """The similarity that turns and scales around a place (x, y) of the photo and puts it into the middle."""
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    (x, y), (height, width) = centre, size
    rows = ((a, -b, width / 2 - a * x + b * y), (b, a, height / 2 - b * x - a * y))
    return Transform(matrix=rows, size=size, photo_size=photo)


class TestTransform:
    def test_identity_is_exact_both_ways(self) -> None:
        photo = torch.randn(3, 17, 23)
        same = Transform(matrix=((1, 0, 0), (0, 1, 0)), size=(17, 23), photo_size=(17, 23))
        assert torch.equal(same.apply(photo), photo)
        other = torch.randn(3, 17, 23)
        assert torch.equal(same.undo(other, photo), other)
        assert torch.equal(same.undo(other, photo, feather=5), other), "a photo's own border is no seam"

    def test_a_whole_crop_of_the_same_scale_is_exact_both_ways(self) -> None:
        photo, other = torch.randn(3, 20, 30), torch.randn(3, 8, 10)
        crop = Transform.of_box((5, 7, 8, 10), (8, 10), (20, 30))
        assert torch.allclose(crop.apply(photo), photo[:, 5:13, 7:17], atol=1e-6)
        back = crop.undo(other, photo)
        wanted = photo.clone()
        wanted[:, 5:13, 7:17] = other
        assert torch.allclose(back, wanted, atol=1e-6)

    @pytest.mark.parametrize("size", [(16, 12), (96, 72)])
    def test_a_box_is_what_pillow_makes_of_it(self, size: tuple[int, int]) -> None:
        photo = torch.rand(3, 60, 50) * 2 - 1
        box = (3.5, 4.25, 40.0, 30.0)
        found = Transform.of_box(box, size, (60, 50)).apply(photo)
        kind = Image.Resampling.LANCZOS if size[0] < 40 else Image.Resampling.BICUBIC
        part = photo[:, 3:44, 4:35].numpy()  # The pixels that the box touches, and no other.
        edges = (0.25, 0.5, 30.25, 40.5)
        wanted = np.stack([np.asarray(Image.fromarray(p).resize(size[::-1], kind, edges)) for p in part])
        assert np.abs(found.numpy() - wanted.clip(photo.min().item(), photo.max().item())).max() < 1e-5

    @pytest.mark.parametrize(("degrees", "scale"), [(30, 1.0), (-75, 0.4), (180, 0.25), (12, 2.5), (90, 1.0)])
    def test_a_turned_image_has_the_values_of_its_places(self, degrees: float, scale: float) -> None:
        size, whole = (40, 48), (240, 300)
        transform = turn(degrees, scale, (151.0, 118.0), size, whole)
        found = transform.apply(smooth(*whole))
        rows = torch.tensor(transform.matrix, dtype=torch.float64)
        back = torch.linalg.inv(torch.cat([rows, torch.tensor([[0.0, 0, 1]], dtype=torch.float64)]))
        y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
        places = torch.einsum("ij,jhw->ihw", back, torch.stack([x, y, torch.ones_like(x)]).double())
        assert (found - value_at(places[0], places[1])).abs().max() < 0.015

    @pytest.mark.parametrize(("degrees", "scale"), [(0, 1.5), (0, 0.5), (30, 0.8), (-75, 0.5), (12, 2.5)])
    def test_undo_brings_back_what_apply_took(self, degrees: float, scale: float) -> None:
        whole = (120, 150)
        photo = smooth(*whole)
        transform = turn(degrees, scale, (75.3, 60.8), (40, 32), whole)
        outside = torch.full_like(photo, 5.0)
        back = transform.undo(transform.apply(photo), outside)
        inside = transform.undo(torch.full((3, 40, 32), 7.0), outside) == 7.0
        area = 40 * 32 / scale**2
        assert area * 0.8 < inside[0].sum() <= area
        assert (back - photo)[inside].abs().max() < 0.06
        untouched = transform.undo(torch.full((3, 40, 32), 7.0), outside) == 5.0
        assert (back == outside)[untouched].all()
        assert untouched[0].sum() > whole[0] * whole[1] - area * 1.25 - 300

    def test_a_feathered_border_grows_inwards(self) -> None:
        photo, other = torch.zeros(1, 40, 60), torch.ones(1, 20, 20)
        crop = Transform.of_box((10, 0, 20, 20), (20, 20), (40, 60))
        back = crop.undo(other, photo, feather=4)[0]
        assert torch.allclose(back[10:15, 10], torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0]))
        assert torch.allclose(back[20, 15:21], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0]))
        assert back[20, 0] == 1, "the photo's own border is no seam"

    def test_what_lies_outside_is_mirrored(self) -> None:
        photo = torch.arange(8.0).expand(1, 8, 8).contiguous()
        left = Transform.of_box((0, -4, 8, 8), (8, 8), (8, 8)).apply(photo)
        assert torch.allclose(left[0, 0], torch.tensor([3.0, 2, 1, 0, 0, 1, 2, 3]), atol=1e-5)

    def test_values_stay_within_those_of_the_photo(self) -> None:
        photo = (torch.rand(3, 30, 30) > 0.5).float()
        for transform in (
            turn(20, 0.7, (15, 15), (9, 9), (30, 30)),
            Transform.of_box((1, 1, 9, 9), (30, 30), (30, 30)),
        ):
            made = transform.apply(photo)
            assert (made.min(), made.max()) >= (0, 0)
            assert made.max() <= 1

    def test_the_same_transform_comes_back_from_json(self) -> None:
        transform = turn(17, 0.3, (200.25, 100.5), (64, 48), (500, 400))
        assert Transform.from_mapping(json.loads(json.dumps(transform.to_mapping()))) == transform
        with pytest.raises(SpecError, match="cannot be undone"):
            Transform.from_mapping({"matrix": [[1, 2, 0], [2, 4, 0]], "size": [8, 8], "photo_size": [8, 8]})

    def test_another_size_is_an_error(self) -> None:
        crop = Transform.of_box((0, 0, 4, 4), (8, 8), (6, 6))
        with pytest.raises(ImageError, match=r"of a photo \(C, 6, 6\); this one is \(3, 6, 7\)"):
            crop.apply(torch.zeros(3, 6, 7))
        with pytest.raises(ImageError, match=r"of a reconstruction \(C, 8, 8\)"):
            crop.undo(torch.zeros(3, 6, 6), torch.zeros(3, 6, 6))

    def test_corners_are_where_the_box_is(self) -> None:
        corners = Transform.of_box((10, 20, 30, 40), (64, 64), (100, 100)).corners()
        assert np.allclose(corners, [(20, 10), (60, 10), (60, 40), (20, 40)])


class Spot(Attention):
    """Looks at the rows and columns where the image is bright."""

    def views(self, image: Tensor, focus: Any) -> list[View]:
        return [View("image", 1.0, image)]

    def region(self, target: Tensor, focus: Any) -> Tensor:
        boxes = []
        for bright in (target > 0.0).any(1):
            rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
            top, left = int(rows.min()), int(columns.min())
            boxes.append([top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left])
        return torch.tensor(boxes)


@pytest.fixture(autouse=True)
def spotting(known: Any) -> None:
    known.add_value("attention", "spot", Spot)


def spot(whole: tuple[int, int], top: int, left: int, height: int, width: int) -> Tensor:
    photo = torch.full((3, *whole), -1.0)
    photo[:, top : top + height, left : left + width] = 1.0
    return photo


class TestAligners:
    @pytest.mark.parametrize("size", [(16, 16), (8, 24), (24, 8)])
    @pytest.mark.parametrize("whole", [(50, 80), (80, 50), (20, 20), (7, 31)])
    def test_center_is_the_fit_cover(self, tmp_path: Path, whole: tuple[int, int], size: tuple[int, int]) -> None:
        images.write_png(tmp_path / "photo.png", smooth(*whole))
        photo = images.read(tmp_path / "photo.png")
        found = CenterAligner().transform(photo, size).apply(photo)
        wanted = images.read(tmp_path / "photo.png", size=size)
        assert (found - wanted).abs().max() < 3 / 255, "but for rounding to 8 bits between two passes"

    @pytest.mark.parametrize("size", [(32, 32), (32, 48)])
    @pytest.mark.parametrize("whole", [(300, 900), (900, 300), (512, 512)])
    def test_attention_cuts_around_its_region(self, whole: tuple[int, int], size: tuple[int, int]) -> None:
        photo = spot(whole, 120, 90, 60, 100)
        transform = AttentionAligner.of(attention="spot", margin=0.1).transform(photo, size)
        (left, top), (right, _), (_, bottom), _ = transform.corners()
        assert (bottom - top) / (right - left) == pytest.approx(size[0] / size[1], rel=0.02)
        longer = max(60 * 1.2, 100 * 1.2 * size[0] / size[1])
        assert bottom - top == pytest.approx(longer, abs=10)
        assert (top + bottom) / 2 == pytest.approx(150, abs=5)
        assert (left + right) / 2 == pytest.approx(140, abs=5)

    def test_a_crop_stays_in_the_photo_and_has_pixels_enough(self) -> None:
        small = AttentionAligner.of(attention="spot").transform(spot((200, 300), 190, 5, 6, 6), (64, 64))
        assert np.allclose(small.corners(), [(0, 136), (64, 136), (64, 200), (0, 200)])
        large = AttentionAligner.of(attention="spot").transform(spot((100, 60), 0, 0, 100, 60), (64, 64))
        assert np.allclose(large.corners(), [(0, 20), (60, 20), (60, 80), (0, 80)])
        narrow = AttentionAligner.of(attention="spot").transform(spot((30, 40), 2, 30, 4, 4), (64, 64))
        assert np.allclose(narrow.corners(), [(10, 0), (40, 0), (40, 30), (10, 30)]), "the photo has no more"

    def test_an_attention_without_a_region_looks_at_the_whole(self) -> None:
        photo = torch.zeros(3, 50, 80)
        attention = AttentionAligner.of(attention="none")
        assert attention.transform(photo, (16, 16)) == CenterAligner().transform(photo, (16, 16))

    def test_the_attention_sees_photos_from_black_to_white_and_their_class(self, known: Any) -> None:
        known.add_value("attention", "attending", Attending)
        aligner = AttentionAligner.of(Context(value_range=(0.0, 255.0)), attention="attending", margin=0)
        aligner.transform(torch.full((3, 700, 500), 1.0), (16, 16), labels=torch.tensor([3]))
        (seen, labels) = aligner.attention.seen
        assert aligner.attention.context.value_range == (-1.0, 1.0)
        assert (seen.min(), seen.max()) == (1, 1)
        assert seen.shape == (1, 3, 256, 183)
        assert labels == 3

    def test_names_and_options_are_checked(self, known: Any) -> None:
        def made(name: str, **options: Any) -> Aligner:
            return build("aligner", Choice(name=name, options=options), Aligner, at="align")

        with pytest.raises(UnknownNameError, match=r"did you mean 'center'"):
            made("centre")
        with pytest.raises(SpecError, match=r"align\.options\.margn: .* \(did you mean 'margin'\?\)"):
            made("attention", margn=1)
        with pytest.raises(SpecError, match="greater than or equal to 0"):
            made("attention", margin=-1)

        class Corner(Aligner):
            class Options(Spec):
                side: int = 4

            def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
                side = self.options.side
                return Transform.of_box((0, 0, side, side), size, (photo.shape[-2], photo.shape[-1]))

        known.add_value("aligner", "corner", Corner)
        photo = torch.rand(3, 9, 9)
        assert torch.allclose(made("corner", side=5).transform(photo, (5, 5)).apply(photo), photo[:, :5, :5])


class Attending(Attention):
    """Keeps what it was shown."""

    seen: Any = None

    def prepare(self, target: Tensor, **context: Any) -> None:
        self.seen = (target, context.get("labels"))

    def views(self, image: Tensor, focus: Any) -> list[View]:
        return [View("image", 1.0, image)]


@pytest.mark.parametrize("box", [(3.0, 5.0, 16.0, 16.0), (-4.5, 30.0, 24.0, 12.0)])
def test_a_box_is_cut_out_as_given(box: tuple[float, float, float, float]) -> None:
    found = BoxAligner.of(box=box).transform(smooth(40, 48), (16, 16))
    top, left, height, width = box
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    assert np.allclose(found.corners(), corners)
    assert BoxAligner.of().transform(smooth(40, 48), (16, 16)) == CenterAligner.of().transform(smooth(40, 48), (16, 16))
    with pytest.raises(SpecError, match="box"):
        BoxAligner.of(box=(0.0, 0.0, 0.0, 5.0))


def test_photos_turned_by_exif_are_upright_before_they_are_aligned(tmp_path: Path) -> None:
    upright = np.zeros((40, 60, 3), dtype=np.uint8)
    upright[10:20, 40:50] = 255
    photo = Image.fromarray(np.rot90(upright))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    read = images.read(tmp_path / "turned.png")
    assert np.array_equal(images.to_uint8(read).permute(1, 2, 0).numpy(), upright)
    transform = AttentionAligner.of(attention="spot", margin=0).transform(read, (8, 8))
    assert transform.photo_size == (40, 60)
    assert np.allclose(transform.corners()[0], (40, 10))
    back = transform.undo(transform.apply(read), read)
    assert (back - read).abs().max() < 0.05
