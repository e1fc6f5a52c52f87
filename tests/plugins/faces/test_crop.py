"""The crop of aligned faces, against the published formula and Pillow's own resampling of its corners."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganenc_plugin_faces.crop import face_transform, features
from ganenc_registry.errors import ImageError
from PIL import Image

FACE = [(40.0, 50.0), (60.0, 50.0), (50.0, 64.0), (42.0, 80.0), (58.0, 80.0)]


def dlib_like(five: np.ndarray, seed: int = 0) -> np.ndarray:
    """68 landmarks whose eyes have these middles and whose mouth has these corners; the rest lies anywhere."""
    drawn = np.random.default_rng(seed).normal(0, 30, (68, 2)) + 50
    for where, middle in ((slice(36, 42), five[0]), (slice(42, 48), five[1])):
        drawn[where] += middle - drawn[where].mean(0)
    drawn[48], drawn[54] = five[3], five[4]
    return drawn


def moved(points: np.ndarray, degrees: float, scale: float, shift: complex) -> np.ndarray:
    numbers = (points[:, 0] + 1j * points[:, 1]) * scale * np.exp(1j * math.radians(degrees)) + shift
    return np.stack([numbers.real, numbers.imag], axis=1)


def published(five: np.ndarray) -> np.ndarray:
    """The corners of the square as the papers have them, in complex numbers: times i is turned by a right angle."""
    left, right, _, mouth_left, mouth_right = five[:, 0] + 1j * five[:, 1]
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    x = (right - left) - 1j * (mouth - eyes)
    x *= max(2 * abs(right - left), 1.8 * abs(mouth - eyes)) / abs(x)
    y, c = 1j * x, eyes + 0.1 * (mouth - eyes)
    corners = np.array([c - x - y, c + x - y, c + x + y, c - x + y])
    return np.stack([corners.real, corners.imag], axis=1)


def test_an_upright_face_by_hand() -> None:
    # e = (20, 0) and m = (0, 30), so half the side is max(40, 54) = 54 around (50, 53).
    found = face_transform(FACE, (64, 64), (100, 100))
    assert np.allclose(found.corners(), [(-4, -1), (104, -1), (104, 107), (-4, 107)])
    assert (found.size, found.photo_size) == ((64, 64), (100, 100))


def test_a_wide_face_is_measured_by_its_eyes() -> None:
    # e = (60, 0) and m = (0, 10), so half the side is max(120, 18) = 120 around (50, 51).
    found = face_transform([(20, 50), (80, 50), (40, 60), (60, 60)], (10, 10), (100, 100))
    assert np.allclose(found.corners(), [(-70, -69), (170, -69), (170, 171), (-70, 171)])


@pytest.mark.parametrize("degrees", [0, 17, -40, 135, 180])
@pytest.mark.parametrize("count", [4, 5, 68])
def test_any_face_lies_as_published(degrees: float, count: int) -> None:
    uneven = np.array([(38.0, 51.0), (61.0, 48.5), (50.0, 64.0), (43.5, 79.0), (59.0, 77.0)])
    five = moved(uneven, degrees, 1.7, 30 - 12j)
    points = {4: five[[0, 1, 3, 4]], 5: five, 68: dlib_like(five)}[count]
    found = face_transform(points, (256, 256), (480, 640))
    assert np.allclose(found.corners(), published(five))


def test_an_image_that_is_no_square_shows_more_on_its_longer_side() -> None:
    square, tall = (face_transform(FACE, size, (100, 100)) for size in ((64, 64), (96, 64)))
    more = np.array([(0, -27), (0, -27), (0, 27), (0, 27)])
    assert np.allclose(tall.corners(), square.corners() + more)


def test_pixels_are_those_of_the_published_corners_by_pillow() -> None:
    y, x = np.mgrid[0:120, 0:160]
    smooth = np.stack([np.sin(x / 9) + np.cos(y / 13), np.cos((x + y) / 11), np.sin((x - 2 * y) / 17)], 2)
    pixels = np.uint8(np.round((smooth + 2) / 4 * 255))
    five = moved(np.array(FACE), 24, 0.7, 55 + 5j)
    corners = published(five)[[0, 3, 2, 1]]
    assert corners.min() > 0
    assert (corners < [160, 120]).all()
    data = [float(value) for value in corners.flatten()]
    wanted = Image.fromarray(pixels).transform((96, 96), Image.Transform.QUAD, data, Image.Resampling.BICUBIC)
    photo = torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1
    found = face_transform(five, (96, 96), (120, 160)).apply(photo)
    difference = (found + 1) * 127.5 - torch.from_numpy(np.array(wanted)).permute(2, 0, 1)
    assert difference.abs().max() < 2


def test_beyond_the_border_the_photo_is_mirrored() -> None:
    photo = torch.rand(3, 100, 100) * 2 - 1
    found = face_transform(FACE, (108, 108), (100, 100)).apply(photo)  # From (-4, -1), a pixel each.
    assert torch.allclose(found[:, 1:101, 4:104], photo, atol=1e-3)
    assert torch.allclose(found[:, 1:101, :4], photo[:, :, :4].flip(2), atol=1e-3)


@pytest.mark.parametrize(
    ("points", "what"),
    [
        (FACE[:3], r"4 \(.*\), 5 \(.*\), 68 \(.*\)"),
        ([(1.0, 2.0, 3.0)] * 4, "each x and y"),
        ([(math.nan, 1.0), *FACE[1:]], "not finite"),
        ([FACE[1], FACE[0], FACE[2], FACE[4], FACE[3]], "as the photo shows them"),
        ([(5.0, 5.0)] * 5, "those of no face"),
        ([(0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (1.0, 0.0)], "those of no face"),
    ],
)
def test_landmarks_of_no_face_are_told(points: object, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        face_transform(points, (64, 64), (100, 100))


def test_of_68_landmarks_the_eyes_are_means() -> None:
    five = np.array(FACE)
    assert np.allclose(features(dlib_like(five)), five[[0, 1, 3, 4]])
