"""What is no picture: shown as curves and tiles, read from arrays, written without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import images
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from PIL import Image


def spec_of(channels: int, size: tuple[int, int], **fields: Any) -> GeneratorSpec:
    layout = (Vector(dim=1),)
    return GeneratorSpec(family="toy", size=size, channels=channels, prior=Prior(dim=1), layout=layout, **fields)


@pytest.mark.parametrize(
    ("channels", "size", "one_hot", "shows"),
    [
        (1, (1, 9), None, "signals"),
        (7, (1, 9), False, "signals"),
        (4, (1, 9), True, "tiles"),
        (5, (6, 6), None, "tiles"),
        (5, (6, 6), False, "pictures"),
        (3, (6, 6), True, "tiles"),
        (4, (6, 6), None, "pictures"),
        (1, (9, 1), None, "pictures"),
    ],
)
def test_channels_and_size_say_what_images_are(
    channels: int, size: tuple[int, int], one_hot: bool | None, shows: str
) -> None:
    assert spec_of(channels, size, one_hot=one_hot).shows == shows


def test_tiles_have_the_colour_of_their_highest_channel() -> None:
    levels = torch.rand(2, 10, 5, 7)
    shown = images.depict(levels, spec_of(10, (5, 7), value_range=(0, 1)))
    colours = shown.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    pairs = {(kind, *colour) for kind, colour in zip(levels.argmax(1).flatten().tolist(), colours, strict=True)}
    assert len(pairs) == len({pair[0] for pair in pairs}) == len({pair[1:] for pair in pairs}) == 10
    assert torch.equal(images.depict(levels[0], spec_of(10, (5, 7), value_range=(0, 1))), shown[0])


def test_signals_are_curves_over_their_range() -> None:
    rows = torch.linspace(-3, 3, 50).repeat(2, 1, 1)[:, None]
    rows[0] = -2.0
    spec = spec_of(1, (1, 50), value_range=(-4, 4))
    flat, rising = images.depict(rows, spec).float()
    ink = (flat.amax(0) - flat.amin(0)) > 60
    places = ink.nonzero()[:, 0].float()
    height = flat.shape[1]
    assert abs(places.mean() / height - 0.75) < 0.03
    assert ink.any(0).float().mean() > 0.9
    columns = (rising.amax(0) - rising.amin(0)) > 60
    left, right = (part.nonzero()[:, 0].float().mean() / height for part in (columns[:, :40], columns[:, -40:]))
    assert left > 0.8
    assert right < 0.2
    several = images.depict(torch.rand(3, 2, 4, 1, 9), spec_of(4, (1, 9)))
    assert several.shape == (3, 2, 3, *flat.shape[1:])
    assert several.dtype == torch.uint8


@pytest.mark.parametrize(("channels", "size"), [(1, (1, 11)), (3, (1, 11)), (10, (4, 6))])
@pytest.mark.parametrize("value_range", [(-1, 1), (0, 1)])
def test_values_go_out_and_come_back_as_they_are(
    tmp_path: Path, channels: int, size: tuple[int, int], value_range: tuple[float, float]
) -> None:
    spec, image = spec_of(channels, size, value_range=value_range), 3 * torch.randn(channels, *size)
    file = images.write_image(tmp_path / "a.png", image, spec)
    assert file == tmp_path / "a.npy"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
    array = np.load(file)
    np.savez(tmp_path / "b.npz", array)
    options: dict[str, Any] = {"size": size, "channels": channels, "value_range": value_range}
    shapes = [file, tmp_path / "b.npz", image.numpy(), *([image[:, 0].numpy(), array[0]] if size[0] == 1 else [])]
    shapes += [image[0, 0].numpy()] if channels == 1 else []
    for given in shapes:
        assert torch.equal(images.read(given, **options), image)
    assert images.find(tmp_path) == [file, tmp_path / "a.png", tmp_path / "b.npz"]


def test_kinds_of_tiles_are_one_hot() -> None:
    kinds = torch.randint(7, (4, 5))
    options: dict[str, Any] = {"size": (4, 5), "channels": 7, "value_range": (-1, 1), "one_hot": True}
    wanted = torch.nn.functional.one_hot(kinds, 7).permute(2, 0, 1) * 2.0 - 1.0
    counted = wanted.permute(1, 2, 0).numpy()
    ones = counted > 0
    for given in (kinds.numpy(), kinds.numpy().astype(np.uint8), ones, ones.astype(np.uint8), counted):
        assert torch.equal(images.read(given, **options), wanted)
    sequence = images.read(np.arange(7), **{**options, "size": (1, 7)})
    assert torch.equal(sequence[:, 0], torch.eye(7) * 2 - 1)
    for fit in ("cover", "contain", "stretch"):
        other = images.read(kinds.numpy(), **{**options, "size": (6, 6), "fit": fit})
        assert other.shape == (7, 6, 6)
        assert torch.equal(other.amax(0), torch.ones(6, 6)), "no pixel is blended"
    with pytest.raises(ImageError, match="from 0 to 7; they are from 0 to 6"):
        images.read(np.arange(8).reshape(2, 4), **options)


@pytest.mark.parametrize(
    ("fit", "wanted"),
    [("cover", [2.0, 3.0, 4.0, 5.0]), ("contain", [0.5, 2.5, 4.5, 6.5]), ("stretch", [0.5, 2.5, 4.5, 6.5])],
)
def test_longer_signals_are_cut_or_averaged(fit: Any, wanted: list[float]) -> None:
    found = images.read(np.arange(8.0), size=(1, 4), channels=1, fit=fit)
    assert (found[0, 0] - torch.tensor(wanted)).abs().max() < (1e-6 if fit == "cover" else 0.3)
    margins = images.read(np.array([5.0, 6.0]), size=(1, 6), channels=1, fit="contain")
    assert margins[0, 0].tolist() == [5, 5, 5, 6, 6, 6], "margins repeat what is nearest"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 9)), r"shape .* give \(1, W, 2\)"),
        (np.zeros((1, 9, 2), np.int64), "int64"),
        (np.zeros((0, 2)), "shape"),
        (np.zeros((2, 2, 9, 2)), "shape"),
        (np.full((2, 9), np.nan), "not numbers"),
        (Image.new("L", (9, 1)), "no array"),
        (b"\x89PNG", "no array"),
    ],
)
def test_what_does_not_fit_is_told(array: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        images.read(array, size=(1, 9), channels=2)


def test_an_archive_holds_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ImageError, match="2 arrays"):
        images.read(tmp_path / "a.npz", size=(1, 3), channels=1)
