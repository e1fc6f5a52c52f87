"""Published weights on real photos: of four photos in one image, the map of a class lies on the photo of that class."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from captum.attr import LayerGradCam
from ganenc import images
from ganenc.objectives import context_for, load_backbone
from ganenc_plugin_gradcam.attention import GradCam, GradCamCrop
from torch import Tensor
from torch.nn import functional as F
from torchvision import models, transforms

QUARTER = 128


class Found(NamedTuple):
    """What was found in mosaics, for each the class of one of its quarters."""

    share: float
    """The mean share of the map's mass in the quarter."""
    boxes: float
    """How often the boxes of AT1 and AT2 are both centred in the quarter."""
    regions: float
    """How often the region is."""


@pytest.fixture
def photos(shared: Path, torch_home: Path) -> tuple[Tensor, Tensor]:
    """Photos (M, 3, 128, 128) and their classes (M,)."""
    paths = photo_files(shared)
    weights = torch_home / "hub" / "checkpoints"
    if not paths or not any(weights.glob("squeezenet*.pth")):
        pytest.skip("needs photos of ImageNet and SqueezeNet's weights")
    labels = torch.tensor([int(path.name.split("-")[0]) for path in paths])
    return read_photos(shared, QUARTER), labels


def photo_files(shared: Path) -> list[Path]:
    return sorted((shared / "data" / "photos").glob("*.jpg"))


def read_photos(shared: Path, side: int) -> Tensor:
    return torch.stack([images.read(path, size=(side, side)) for path in photo_files(shared)])


def mosaics(photos: tuple[Tensor, Tensor], count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mosaics (N, 3, 2 side, 2 side) of four photos of different classes, the classes asked for, and their quarters."""
    draw = random.Random(seed)
    chosen = [draw.sample(range(len(photos[0])), 4) for _ in range(count)]
    quarters = torch.tensor([draw.randrange(4) for _ in range(count)])
    columns = [torch.cat([photos[0][four[:2]], photos[0][four[2:]]], 2) for four in chosen]
    made = torch.stack([torch.cat(tuple(pair), 2) for pair in columns])
    labels = torch.stack([photos[1][four[at]] for four, at in zip(chosen, quarters.tolist(), strict=True)])
    return made, labels, quarters


def measure(photos: tuple[Tensor, Tensor], count: int, seed: int) -> Found:
    made, labels, quarters = mosaics(photos, count, seed)
    backbone, side = load_backbone("squeeze"), photos[0].shape[-1]
    weighted, cropped = GradCam.of(context_for(backbone), of="given"), GradCamCrop.of(context_for(backbone), of="given")
    cropped.maps = weighted.maps  # The cache spares a second pass over the same images.
    maps = weighted.prepare(made, labels=labels)["map"]
    focus = cropped.prepare(made, labels=labels)

    def hit(box: Tensor) -> Tensor:
        top, left, height, width = box.unbind(1)
        return 2 * (top + height / 2 > side).long() + (left + width / 2 > side).long() == quarters

    boxes = hit(focus["at1"]) & hit(focus["at2"])
    regions = hit(cropped.region(made, focus))
    return Found(share(maps, quarters), boxes.float().mean().item(), regions.float().mean().item())


def share(maps: Tensor, quarters: Tensor) -> float:
    """The mean share of the mass of maps (N, 1, H, W) that lies in the quarters (N,)."""
    by_quarter = F.avg_pool2d(maps, maps.shape[-1] // 2).flatten(1)
    return (by_quarter / by_quarter.sum(1, keepdim=True)).gather(1, quarters[:, None]).mean().item()


def captums(made: Tensor, labels: Tensor) -> Tensor:
    """The maps (N, 1, H, W) of captum's plain Grad-CAM on torchvision's network, enlarged bilinearly, then cut at 0."""
    network = models.squeezenet1_1(weights=models.SqueezeNet1_1_Weights.IMAGENET1K_V1).eval()
    normal = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))((made + 1) / 2)
    raw = LayerGradCam(network, network.features[12]).attribute(normal, labels)
    return F.interpolate(raw, made.shape[-2:], mode="bilinear").relu().detach()


def test_a_mosaic_holds_its_photos(photos: tuple[Tensor, Tensor]) -> None:
    made, labels, quarters = mosaics(photos, 5, 0)
    for image, label, quarter in zip(made, labels, quarters.tolist(), strict=True):
        top, left = QUARTER * (quarter // 2), QUARTER * (quarter % 2)
        part = image[:, top : top + QUARTER, left : left + QUARTER]
        assert torch.equal(part, photos[0][photos[1] == label][0])


def test_maps_are_captums_on_torchvisions_network(photos: tuple[Tensor, Tensor]) -> None:
    made, labels, _ = mosaics(photos, 4, 1)
    found = GradCam.of(context_for(load_backbone("squeeze")), of="given").prepare(made, labels=labels)["map"]
    wanted = captums(made, labels)
    assert torch.allclose(found, wanted / wanted.amax((1, 2, 3), keepdim=True), atol=0.02)


def test_maps_and_boxes_lie_on_the_class_asked_for(photos: tuple[Tensor, Tensor]) -> None:
    found = measure(photos, 48, seed=5)
    assert found.share > 0.45, "chance is 0.25"
    assert found.boxes > 0.75, "chance is 0.25"
    assert found.regions > 0.75, "chance is 0.25"


@pytest.mark.slow
@pytest.mark.parametrize("quarter", [QUARTER, 2 * QUARTER])
def test_maps_lie_on_the_class_asked_for_as_captums_do(
    shared: Path, photos: tuple[Tensor, Tensor], quarter: int
) -> None:
    large = read_photos(shared, quarter)
    for seed in range(2):
        found = measure((large, photos[1]), 200, seed)
        assert found.share >= 0.52, "chance is 0.25"
        assert found.boxes >= 0.80, "chance is 0.25"
        assert found.regions >= 0.80, "chance is 0.25"
        assert found.share >= captums_share((large, photos[1]), 200, seed) - 0.002


def captums_share(photos: tuple[Tensor, Tensor], count: int, seed: int) -> float:
    """The mean share of the mass in the quarter, of the maps of captum on torchvision's network, enlarged, then cut."""
    made, labels, quarters = mosaics(photos, count, seed)
    maps = torch.cat([captums(made[i : i + 10], labels[i : i + 10]) for i in range(0, count, 10)])
    return share(maps, quarters)
