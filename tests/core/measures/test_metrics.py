"""Metrics against scikit-image and lpips on 8-bit files, as anyone would take them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.images import read, write_png
from ganenc.measures import LPIPS, PSNR, SSIM, build_metrics, psnr, score
from ganenc.objectives import Squeeze
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError
from PIL import Image
from torch import Tensor


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    """Images from -1 to 1, and others that leave that range."""
    generator = torch.Generator().manual_seed(0)
    a = torch.nn.functional.interpolate(
        torch.rand(3, 3, 6, 6, generator=generator) * 2 - 1, size=(40, 48), mode="bicubic"
    )
    return a, a * 1.1 + 0.2 * torch.randn(a.shape, generator=generator)


def rows_of(a: Tensor, b: Tensor, *, backbone: Any = None, region: Tensor | None = None) -> list[dict[str, float]]:
    """The metrics of an inversion, pair by pair."""
    load = None if backbone is None else lambda: backbone
    return score(a, b, build_metrics(context=Context(load_backbone=load)), region=region).rows


def lpips(backbone: Any) -> Any:
    return LPIPS(context=Context(load_backbone=lambda: backbone))


def on_disk(folder: Path, images: Tensor) -> list[np.ndarray]:
    for index, image in enumerate(images):
        write_png(folder / f"{index}.png", image)
    return [np.asarray(Image.open(folder / f"{index}.png")) for index in range(len(images))]


def test_psnr_and_ssim_are_those_of_the_saved_files(tmp_path: Path, pairs: tuple[Tensor, Tensor]) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b = (on_disk(tmp_path / str(side), images) for side, images in enumerate(pairs))
    rows = rows_of(*pairs)
    for row, x, y in zip(rows, a, b, strict=True):
        assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(x, y), abs=1e-6)
        assert row["ssim"] == pytest.approx(structural_similarity(x, y, channel_axis=2, data_range=255), abs=1e-9)
        assert set(row) == {"psnr", "ssim"}


def test_equal_images(pairs: tuple[Tensor, Tensor], tiny_backbone: Any) -> None:
    (row, *_) = rows_of(pairs[0], pairs[0].clamp(-1, 1), backbone=tiny_backbone)
    assert row == {"psnr": math.inf, "ssim": 1.0, "lpips-tiny": pytest.approx(0, abs=1e-6)}


@pytest.mark.filterwarnings("ignore")
def test_lpips_is_that_of_the_library_and_names_its_backbone(shared: Path, torch_home: Path, tmp_path: Path) -> None:
    import lpips

    photos = sorted((shared / "data" / "photos").glob("*.jpg"))[:3]
    target = torch.stack([read(photo, size=(96, 96)) for photo in photos])
    view = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "a.png", view[0])
    published = lpips.LPIPS(net="squeeze", verbose=False)
    wanted = published(read(tmp_path / "a.png")[None], target[:1]).item()
    rows = rows_of(view, target, backbone=Squeeze())
    assert [set(row) for row in rows] == [{"psnr", "ssim", "lpips-squeeze"}] * 3
    assert rows[0]["lpips-squeeze"] == pytest.approx(wanted, abs=1e-5)


def test_many_images_go_in_parts(pairs: tuple[Tensor, Tensor], tiny_backbone: Any) -> None:
    a, b = (images.repeat(9, 1, 1, 1) for images in pairs)
    values = lpips(tiny_backbone)(a, b)
    assert len(values) == 27
    assert tiny_backbone.passes == 2
    assert values[:3] == pytest.approx(values[-3:])
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_other_ranges_give_the_same(pairs: tuple[Tensor, Tensor]) -> None:
    wanted = rows_of(*pairs)
    moved = build_metrics(context=Context(value_range=(0, 1)))
    found = score(*(images / 2 + 0.5 for images in pairs), moved).rows
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-2)


def test_grey_and_small_images_take_a_smaller_window() -> None:
    from skimage.metrics import structural_similarity

    a, b = (torch.randint(0, 256, (1, 1, 6, 9), dtype=torch.uint8) for _ in range(2))
    wanted = structural_similarity(a[0, 0].numpy(), b[0, 0].numpy(), win_size=5, data_range=255)
    assert SSIM()(a, b) == pytest.approx([wanted])
    assert "5x5" in SSIM().words(a)
    with pytest.raises(ImageError, match="3x3"):
        SSIM()(a[..., :2], b[..., :2])


def test_shapes_have_to_agree(pairs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ImageError, match="of one shape"):
        rows_of(pairs[0], pairs[1][:2])
    with pytest.raises(ImageError, match="of one shape"):
        psnr(pairs[0][0], pairs[1][0])


def test_settings_say_how(pairs: tuple[Tensor, Tensor], tiny_backbone: Any) -> None:
    metrics = build_metrics(context=Context(load_backbone=lambda: tiny_backbone))
    settings = {name: metric.words(pairs[0]) for name, metric in metrics.items()}
    assert list(settings) == list(rows_of(*pairs, backbone=tiny_backbone)[0])
    assert "7x7" in settings["ssim"]
    assert "equal weights" in settings["lpips-tiny"]
    assert all("8 bits" in text for text in settings.values())


class TestRegion:
    @pytest.fixture
    def region(self) -> Tensor:
        """Another part of each of the three images: a corner, a strip, scattered pixels."""
        region = torch.zeros(3, 1, 40, 48, dtype=torch.bool)
        region[0, :, :11, :7] = True
        region[1, :, :, 20:23] = True
        region[2] = torch.rand(1, 40, 48, generator=torch.Generator().manual_seed(1)) > 0.8
        return region

    def test_psnr_and_ssim_count_its_pixels_alone(
        self, tmp_path: Path, pairs: tuple[Tensor, Tensor], region: Tensor
    ) -> None:
        from skimage.metrics import structural_similarity

        a, b = (on_disk(tmp_path / str(side), images) for side, images in enumerate(pairs))
        rows = rows_of(*pairs, region=region)
        for row, x, y, inside in zip(rows, a, b, region[:, 0].numpy(), strict=True):
            error = np.square(x[inside].astype(np.float64) - y[inside]).mean()
            assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
            _, full = structural_similarity(x, y, channel_axis=2, data_range=255, full=True)
            assert row["ssim"] == pytest.approx(full[inside].mean(), abs=1e-9)

    def test_what_lies_outside_counts_for_nothing(
        self, pairs: tuple[Tensor, Tensor], region: Tensor, tiny_backbone: Any
    ) -> None:
        a, b = pairs
        other = torch.where(region, b, torch.randn(b.shape, generator=torch.Generator().manual_seed(2)))
        distance = lpips(tiny_backbone)
        for measure in (PSNR(), distance):
            inside = measure(a, b, region=region)
            assert inside == measure(a, other, region=region)
            assert inside != pytest.approx(measure(a, b))
        equal_inside = torch.where(region, a, b)
        assert distance(a, equal_inside, region=region) == pytest.approx([0] * 3, abs=1e-6)
        assert distance(b, equal_inside) == pytest.approx(distance(b, a, region=region))

    def test_grey_images_have_regions_too(self, region: Tensor) -> None:
        a, b = (torch.randint(0, 256, (3, 1, 40, 48), dtype=torch.uint8) for _ in range(2))
        found: Any = PSNR()(a, b, region=region)
        error = (a[1].double() - b[1].double())[region[1]].square().mean().item()
        assert found[1] == pytest.approx(10 * math.log10(255**2 / error))

    def test_the_whole_image_as_region_is_the_plain_psnr(self, pairs: tuple[Tensor, Tensor]) -> None:
        whole = torch.ones(3, 1, 40, 48, dtype=torch.bool)
        assert PSNR()(*pairs, region=whole) == pytest.approx(psnr(*pairs))

    def test_wrong_regions_are_told(self, pairs: tuple[Tensor, Tensor], region: Tensor, tiny_backbone: Any) -> None:
        region[1] = False
        for metric in (PSNR(), SSIM(), lpips(tiny_backbone)):
            with pytest.raises(ImageError, match=r"region of sample 1 .* is empty"):
                metric(*pairs, region=region)
        with pytest.raises(ImageError, match=r"bool \(3, 1, 40, 48\)"):
            rows_of(*pairs, region=region[:, 0])
        with pytest.raises(ImageError, match=r"torch\.float32"):
            rows_of(*pairs, region=region.float())

    def test_the_settings_say_so(self, pairs: tuple[Tensor, Tensor], tiny_backbone: Any) -> None:
        for metric in (PSNR(), SSIM(), lpips(tiny_backbone)):
            plain, within = metric.words(pairs[0]), metric.words(pairs[0], region=True)
            assert within.startswith(plain)
            assert "region" in within[len(plain) :]
