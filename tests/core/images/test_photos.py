"""Photos in and out, against pixels made with Pillow and numpy."""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from ganenc import images
from ganenc_registry.errors import GanencError, ImageError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from PIL import Image, ImageCms


@pytest.fixture
def pixels() -> np.ndarray:
    """A colour image (20, 30, 3) with smooth content, so that lossy formats keep it."""
    y, x = np.mgrid[0:20, 0:30]
    return np.stack([x * 8, y * 12, 255 - x * 4 - y * 4], -1).astype(np.uint8)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    """The image (H, W, C) on the scale from 0 to 255, from -1 to 1."""
    return ((image.numpy() + 1) * 127.5).transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        (".png", {}, 0.01),
        (".bmp", {}, 0.01),
        (".tiff", {}, 0.01),
        (".webp", {"lossless": True}, 0.01),
        (".jpg", {"quality": 98, "subsampling": 0}, 8),
    ],
)
def test_formats(tmp_path: Path, pixels: np.ndarray, suffix: str, options: dict, tolerance: float) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels).save(path, **options)
    image = images.read(path)
    assert image.shape == (3, 20, 30)
    assert image.dtype == torch.float32
    assert np.abs(as_bytes(image) - pixels).max() <= tolerance


def test_grey_one_bit_and_one_channel(tmp_path: Path, pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 100).save(tmp_path / "bit.png")
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    image = images.read(tmp_path / "grey.png")
    assert np.abs(as_bytes(image) - grey[..., None]).max() < 0.01
    assert image.shape == (3, 20, 30)
    bit = images.read(tmp_path / "bit.png", channels=1, value_range=(0, 1))
    assert np.array_equal(bit[0].numpy(), (grey > 100).astype(np.float32))
    luma = images.read(tmp_path / "colour.png", channels=1)
    assert luma.shape == (1, 20, 30)
    assert np.abs(as_bytes(luma)[..., 0] - pixels @ np.array([0.299, 0.587, 0.114])).max() < 1.01


def test_alpha_lies_on_white(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.broadcast_to(np.linspace(0, 255, 30).astype(np.uint8), (20, 30))
    wanted = pixels * (alpha[..., None] / 255.0) + 255.0 * (1 - alpha[..., None] / 255.0)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "rgba.png")
    assert np.abs(as_bytes(images.read(tmp_path / "rgba.png")) - wanted).max() < 1.5
    Image.fromarray(np.dstack([pixels[..., 0], alpha]), "LA").save(tmp_path / "la.png")
    assert np.abs(as_bytes(images.read(tmp_path / "la.png")) - wanted[..., :1]).max() < 1.5


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 255])
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "t.png", transparency=2)
    wanted = np.array([[[10, 20, 30], [200, 100, 50]], [[0, 0, 255], [200, 100, 50]]])
    assert np.abs(as_bytes(images.read(tmp_path / "p.png")) - wanted).max() < 0.01
    wanted[1, 0] = 255
    assert np.abs(as_bytes(images.read(tmp_path / "t.png")) - wanted).max() < 0.01


def test_cmyk(tmp_path: Path) -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, :8] = (255, 0, 0, 0)  # Cyan.
    ink[:, 8:] = (0, 0, 0, 255)  # Black.
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.tiff")
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.jpg", quality=98)
    for name in ("a.tiff", "a.jpg"):
        image = as_bytes(images.read(tmp_path / name))
        assert np.abs(image[:, :7] - (0, 255, 255)).max() < 6
        assert np.abs(image[:, 9:] - (0, 0, 0)).max() < 6


def test_grey_of_16_bits_is_scaled_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tiff", values)
    tifffile.imwrite(tmp_path / "big.tiff", values, byteorder=">")
    for name in ("a.png", "a.tiff", "big.tiff"):
        image = images.read(tmp_path / name, channels=1, value_range=(0, 1))
        assert np.abs(image[0].numpy() - values / 65535.0).max() < 1e-6, name
    small = images.read(tmp_path / "a.png", size=(10, 15), value_range=(0, 1))
    assert small.shape == (3, 10, 15)
    assert small.min() < 0.05
    assert small.max() > 0.95
    assert torch.equal(small[0], small[2])


def test_colour_of_16_bits_is_scaled_not_cut(tmp_path: Path, pixels: np.ndarray) -> None:
    deep = pixels.astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    tifffile.imwrite(tmp_path / "a.tiff", deep, photometric="rgb")
    for name in ("a.png", "a.tiff"):
        assert np.abs(as_bytes(images.read(tmp_path / name)) - pixels).max() < 1.01, name


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_grey_of_floats(tmp_path: Path, top: float) -> None:
    values = np.linspace(0, top, 600, dtype=np.float32).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    image = images.read(tmp_path / "a.tiff", channels=1, value_range=(0, 1))
    assert np.abs(image[0].numpy() - values / top).max() < 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_direction(tmp_path: Path, orientation: int) -> None:
    """What each orientation means, from the EXIF standard: the stored image is the upright one, undone."""
    upright = np.zeros((20, 30), np.uint8)
    upright[:10, :10] = 255  # A light corner at the top left, and one side longer than the other.
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo[orientation](upright))).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = as_bytes(images.read(tmp_path / "a.jpg"))
    assert image.shape == (20, 30, 3)
    assert np.abs(image - upright[..., None].astype(float)).mean() < 5


def test_cover_crops_the_centre(tmp_path: Path) -> None:
    wide = np.full((32, 96, 3), 255, np.uint8)
    wide[:, 32:64] = (0, 128, 0)
    for name, array in (("wide", wide), ("tall", wide.transpose(1, 0, 2))):
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / f"{name}.png")
        image = images.read(tmp_path / f"{name}.png", size=(16, 16))
        assert np.abs(as_bytes(image) - (0, 128, 0)).max() < 0.5


def test_contain_and_stretch_keep_all(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 96, 3), np.uint8)).save(tmp_path / "a.png")
    contained = as_bytes(images.read(tmp_path / "a.png", size=(48, 48), fit="contain"))
    assert (contained[16:32] == 0).all()
    assert (contained[:16] == 255).all()
    assert (contained[32:] == 255).all()
    assert (as_bytes(images.read(tmp_path / "a.png", size=(48, 48), fit="stretch")) == 0).all()


def test_an_unknown_fit_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="did you mean 'cover'"):
        images.read(tmp_path / "a.png", size=(4, 4), fit="cove")  # type: ignore[arg-type]


def test_resizing_averages_instead_of_picking(tmp_path: Path) -> None:
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "a.png")
    small = as_bytes(images.read(tmp_path / "a.png", size=(16, 16)))
    assert np.abs(small - 127.5).max() < 12


def test_a_photo_of_the_right_size_keeps_its_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.abs(as_bytes(images.read(tmp_path / "a.png", size=(20, 30))) - pixels).max() < 0.01


def test_a_photo_is_a_path_bytes_an_image_or_an_array(tmp_path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(tmp_path / "a.png", exif=exif)
    wanted = images.read(tmp_path / "a.png", size=(12, 12))
    opened = Image.open(tmp_path / "a.png")
    for photo in (str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), opened, pixels, pixels.astype("u2") * 257,
                  pixels / 255.0, np.dstack([pixels, np.full((20, 30), 255, np.uint8)])):  # fmt: skip
        assert torch.equal(images.read(photo, size=(12, 12)), wanted)
    grey = images.read(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30, 1), channels=1, value_range=(0, 1))
    assert np.abs(grey.flatten().numpy() - np.linspace(0, 1, 600)).max() < 1e-6
    assert opened.size == (30, 20)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "F"])
def test_what_was_decoded_once_is_read_at_any_size(tmp_path: Path, pixels: np.ndarray, mode: str) -> None:
    plain = Image.fromarray(pixels).convert("L" if mode in ("I;16", "F") else mode)
    values = np.asarray(plain, dtype={"I;16": np.uint16, "F": np.float32}.get(mode, np.uint8))
    (Image.fromarray(values) if mode in ("I;16", "F") else plain).save(tmp_path / "a.tiff")
    decoded = images.decode(tmp_path / "a.tiff")
    for more in ({}, {"size": (8, 8)}, {"size": (31, 7), "channels": 1, "fit": "contain"}):
        assert torch.equal(images.read(decoded, **more), images.read(tmp_path / "a.tiff", **more))


@pytest.mark.parametrize("wrong", [np.zeros(4, np.uint8), np.zeros((4, 4), np.int64), np.zeros((0, 4), np.uint8)])
def test_arrays_that_are_no_photo_are_an_error(wrong: np.ndarray) -> None:
    with pytest.raises(ImageError, match=re.escape(f"has shape {wrong.shape} and type {wrong.dtype}")):
        images.read(wrong)
    with pytest.raises(ImageError, match="given as bytes is not a photo"):
        images.read(b"no photo")


def profile(colours: np.ndarray, space: bytes = b"RGB ", gamma: float = 2.2) -> bytes:
    """An ICC profile (ICC.1:2001-04) of primaries (3, 3), a column each in XYZ under D50, and one exponent."""
    s15 = lambda values: struct.pack(f">{len(values)}i", *(round(float(one) * 65536) for one in values))  # noqa: E731
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(gamma * 256), 0)
    xyz = [b"XYZ " + bytes(4) + s15(column) for column in (*colours.T, (0.9642, 1.0, 0.8249))]
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"rTRC", b"gTRC", b"bTRC", b"kTRC")
    tags = [*xyz, *[curve] * 4]
    starts = np.cumsum([128 + 4 + 12 * len(tags), *map(len, tags)])
    table = b"".join(name + struct.pack(">II", int(start), len(tag)) for name, start, tag in zip(names, starts, tags))
    about = bytes(4) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head = struct.pack(">I", int(starts[-1])) + about + s15((0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + b"".join(tags)


P3 = np.array([[0.5151, 0.2919, 0.1572], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
"""Display P3's primaries, adapted to D50 (Bradford)."""
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
"""sRGB's, IEC 61966-2-1."""


def in_srgb(pixels: np.ndarray, colours: np.ndarray = P3, gamma: float = 2.2) -> np.ndarray:
    """Pixels (H, W, 3) of other primaries, with a plain exponent, on the scale of sRGB from 0 to 255."""
    linear = (pixels / 255.0) ** gamma @ (np.linalg.inv(SRGB) @ colours).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    "kind", ["a.png", "a.tiff", "turned.jpg", "alpha.png", "palette.png", "16.png", "cmyk.tiff", "grey.png"]
)
def test_colours_of_a_profile_come_in_srgb(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    path, p3, image = tmp_path / kind, profile(P3), Image.fromarray(pixels)
    wanted, options, close = in_srgb(pixels), {}, 1.6
    assert np.abs(wanted - pixels).max() > 20
    if kind == "turned.jpg":
        (exif := Image.Exif())[0x0112] = 3
        image, close = Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])), 12
        options = {"exif": exif, "quality": 98, "subsampling": 0}
    elif kind == "alpha.png":
        image.putalpha(255)
    elif kind == "palette.png":
        image = image.quantize(256)
        wanted = in_srgb(np.asarray(image.convert("RGB")))
    elif kind == "16.png":  # Pillow's 16 bits hold greys, which no profile of colours is for.
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        wanted = np.repeat(pixels[..., :1], 3, 2)
    elif kind == "cmyk.tiff":  # Neither is it for inks: as without it.
        image = image.convert("CMYK")
        wanted = np.asarray(image.convert("RGB"))
    elif kind == "grey.png":
        image, p3 = image.convert("L"), profile(P3, b"GRAY", gamma=1.8)
        wanted = np.repeat(in_srgb(np.asarray(image)[..., None].repeat(3, 2), SRGB, 1.8)[..., :1], 3, 2)
    image.save(path, icc_profile=p3, **options)
    assert np.abs(as_bytes(images.read(path)) - wanted).max() < close
    assert torch.equal(images.read(images.decode(path)), images.read(path)), "twice"


@pytest.mark.parametrize("damage", [b"no profile", b"", "cut", "zeros"])
def test_a_damaged_profile_says_nothing(tmp_path: Path, pixels: np.ndarray, damage: bytes | str) -> None:
    good = profile(P3)
    bad = {"cut": good[:200], "zeros": bytes(len(good))}.get(damage, damage)  # type: ignore[call-overload]
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=bad)
    assert np.abs(as_bytes(images.read(tmp_path / "a.png")) - pixels).max() < 0.01


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path, pixels: np.ndarray) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=srgb)
    assert np.abs(as_bytes(images.read(tmp_path / "a.png")) - pixels).max() < 0.01


def broken_files(folder: Path) -> dict[str, str]:
    """Files that are no photos, with what the error has to say."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "text.png").write_text("not a photo")
    (folder / "empty.png").write_bytes(b"")
    (folder / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "folder.png").mkdir()
    return {
        "cut.jpg": "broken",
        "text.png": "not a photo",
        "empty.png": "not a photo",
        "head.png": "broken|not a photo",
        "folder.png": "folder",
        "missing.png": "no such file",
    }


def test_broken_files_are_named(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(ImageError, match=reason) as caught:
            images.read(tmp_path / name)
        assert name in str(caught.value)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"bomb\.png.*too many pixels"):
        images.read(tmp_path / "bomb.png")


def test_find_expands_folders_and_patterns_in_natural_order(tmp_path: Path) -> None:
    names = ["p10.png", "p2.JPG", "p1.png", "2/a.png", "10/a.png", ".hidden/a.png", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    images.write_png(tmp_path / "sheet.png", torch.zeros(3, 4, 4), sheet=True)
    found = [str(path.relative_to(tmp_path)) for path in images.find(tmp_path)]
    assert found == ["2/a.png", "10/a.png", "p1.png", "p2.JPG", "p10.png"]
    (tmp_path / "sheet.png").unlink()
    assert [path.name for path in images.find(str(tmp_path / "p*.png"))] == ["p1.png", "p10.png"]
    both = images.find([tmp_path / "p10.png", tmp_path / "no.png", tmp_path / "*.png"])
    assert [path.name for path in both] == ["p10.png", "no.png", "p1.png"]


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".tga", ".JPE", ".apng"])
def test_whatever_pillow_opens_is_a_photo(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    if Image.registered_extensions().get(suffix.lower()) not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {suffix}")
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    assert images.find(tmp_path) == [tmp_path / f"a{suffix}"]
    assert np.abs(as_bytes(images.read(tmp_path / f"a{suffix}")) - pixels).mean() < 4


def test_what_cannot_be_read_is_named_once_and_texts_are_not(tmp_path: Path) -> None:
    names = ("a.png", "b.heic", "c.HEIC", "d.cr9", "labels.csv", "notes.txt", "README.html", ".heic", "e.eps")
    for name in names:
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"passed over .*: 1 \.cr9, 1 \.eps, 2 \.heic\.") as told:
        assert images.find(tmp_path) == [tmp_path / "a.png"]
    assert len(told) == 1
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"no photo in .*: 1 \.cr9, 1 \.eps, 2 \.heic\."):
        images.find(tmp_path)


def test_no_program_is_run_to_read_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What draws itself by a program, PostScript, is no photo, whatever its name."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.raises(ImageError, match="not a photo in a format that can be read"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 10])
def test_images_of_any_number_of_channels_go_out_and_come_back(tmp_path: Path, channels: int) -> None:
    image = torch.rand(channels, 6, 9) * 2 - 1
    layout, size = (Vector(dim=1),), (6, 9)
    spec = GeneratorSpec(family="toy", size=size, channels=channels, prior=Prior(dim=1), layout=layout, one_hot=False)
    path = images.write_image(tmp_path / "a.png", image, spec)
    assert path.suffix == (".png" if channels in (1, 3, 4) else ".npy")
    assert (tmp_path / "a.png").is_file()
    back = images.read(path, channels=channels)
    assert (back - image).abs().max() <= (1.001 / 255 if channels in (1, 3, 4) else 0), "8 bits, or as they were"
    for fit in ("cover", "contain", "stretch"):
        small = images.read(path, size=(4, 4), channels=channels, fit=fit)  # type: ignore[arg-type]
        assert small.shape == (channels, 4, 4)
        flat = images.read(np.full((6, 9, channels), 51, np.uint8), size=(4, 4), channels=channels)
        assert (flat + 0.6).abs().max() < (0.5 / 51 if channels == 4 else 1e-6), "colours times alpha have 8 bits"
    assert images.to_image(image).mode == {1: "L", 4: "RGBA"}.get(channels, "RGB")
    assert images.grid(torch.stack([image] * 3)).shape == (channels, 3 * 6 // 2 * 2 - 4, 2 * 9 + 2)


def test_photos_for_rgba_are_opaque_where_they_say_nothing(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.broadcast_to(np.linspace(0, 255, 30).astype(np.uint8), (20, 30))
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png")
    read = images.read(tmp_path / "a.png", channels=4)
    assert np.abs(as_bytes(read) - np.dstack([pixels, alpha])).max() < 0.01
    for photo in (pixels, pixels[..., 0], pixels[..., 0].astype(np.uint16) * 257):
        read = images.read(photo, channels=4)
        assert read.shape == (4, 20, 30)
        assert (read[3] == 1).all()


@pytest.mark.parametrize(("have", "need"), [(3, 2), (10, 3), (4, 10), (2, 1)])
def test_photos_of_other_channels_are_refused(have: int, need: int) -> None:
    with pytest.raises(ImageError, match=rf"(has {have} channels|, {have}\)).* {need}"):
        images.read(np.zeros((4, 4, have), np.uint8), channels=need)


def test_find_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no photo in"):
        images.find(tmp_path)
    with pytest.raises(ImageError, match="no photo in"):
        images.find(str(tmp_path / "*.png"))


def test_folders_behind_links_are_found_once_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("a/1.png", "a/.2.png", "a/.hidden/3.png", "elsewhere/4.png"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert sorted(path.name for path in images.find(tmp_path / "a")) == ["1.png", "4.png"]


def test_lists_name_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists" / "in").mkdir(parents=True)
    for name in ("x.png", "lists/y.png", "lists/in/z.png"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "lists" / "some.LST"
    listed.write_bytes(b"\xef\xbb\xbf# these\r\nx.png\r\n\r\ny.png\r\nin\r\n*.png\r\nnone.png\r\n")
    assert [path.name for path in images.find("lists/some.LST")] == ["x.png", "y.png", "z.png", "none.png"]
    for text, said in ((b"\n# nothing\n", "names no photo"), (b"\xff\xfe\xff", "cannot be read")):
        listed.write_bytes(text)
        with pytest.raises(ImageError, match=said):
            images.find(listed)


def test_names_that_no_system_allows_are_files_that_are_not_there() -> None:
    name = "x" * 300 + ".png"
    assert images.find(name) == [Path(name)]
    with pytest.raises(ImageError, match="File name too long"):
        images.read(name)


def test_convert_range_and_back() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0, 1.5])
    assert torch.equal(images.convert_range(values, (-1, 1), (0, 255)), torch.tensor([0.0, 127.5, 255.0, 318.75]))
    assert images.convert_range(values, (-1, 1), (-1.0, 1.0)) is values
    back = images.convert_range(images.convert_range(values, (-1, 1), (3, 7)), (3, 7), (-1, 1))
    assert torch.allclose(back, values)


def test_to_uint8_clamps_and_rounds() -> None:
    values = torch.tensor([-5.0, -1.0, 0.1, 0.999, 1.0, 7.0, float("nan"), float("inf")])
    wanted = [0, 0, round((0.1 + 1) * 127.5), 255, 255, 255, 0, 255]
    assert images.to_uint8(values).tolist() == wanted
    assert images.to_uint8(torch.tensor([0.2, 0.7]), (0, 1)).tolist() == [51, round(0.7 * 255)]
    assert images.to_uint8(torch.tensor([0.5]).half(), (0, 1)).dtype == torch.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_png_comes_back(tmp_path: Path, channels: int) -> None:
    image = torch.rand(channels, 9, 7) * 2.4 - 1.2
    images.write_png(tmp_path / "new" / "a.png", image)
    assert torch.equal(
        images.to_uint8(images.read(tmp_path / "new" / "a.png", channels=channels)), images.to_uint8(image)
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_png_of_a_wrong_shape_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GanencError, match=r"\(4, 4\)"):
        images.write_png(tmp_path / "a.png", torch.zeros(4, 4))


def test_grid_puts_images_in_rows() -> None:
    batch = torch.stack([torch.full((3, 4, 5), value) for value in (-1.0, 0.0, 1.0)])
    sheet = images.grid(batch, columns=2, gap=1)
    assert sheet.shape == (3, 9, 11)
    assert sheet.dtype == torch.uint8
    assert (sheet[:, :4, :5] == 0).all()
    assert (sheet[:, :4, 6:] == 128).all()
    assert (sheet[:, 5:, :5] == 255).all()
    assert (sheet[:, 5:, 6:] == 255).all()
    with pytest.raises(ImageError, match="N of 1 or more"):
        images.grid(batch[:0])


def test_a_pipe_or_a_device_is_no_photo(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    make_pipe(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        with pytest.raises(ImageError, match="it is no regular file"):
            images.decode(path)


@pytest.mark.parametrize("closed", ["photos", "photos/inner"])
@pytest.mark.parametrize("right", ["list", "search"])
def test_a_folder_that_cannot_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, right: str
) -> None:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for name in ("a.png", "inner/b.png"):
        Image.new("L", (4, 4)).save(tmp_path / "photos" / name)
    assert len(images.find(tmp_path / "photos")) == 2
    listed = os.scandir

    def scandir(path: str) -> Any:
        if right == "list" and Path(path) == tmp_path / closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "access", lambda path, mode: right == "list" or Path(path) != tmp_path / closed)
    with pytest.raises(ImageError, match=rf"{closed} cannot be read or written: Permission denied"):
        images.find(tmp_path / "photos")
