"""Hands that are not in the middle: photos shrunk and shifted at random, and where the hand is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ganenc.files import load_state, save_state
from ganenc.generators import Generator, build_generator
from ganenc.images import to_uint8
from ganenc_plugin_hands.train_gan import STATE, GanTrainer
from ganenc_plugin_hands.zoo_specs import zoo_spec, zoo_training
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MODEL", "hand_region", "misaligned", "place", "placements", "train_generator"]

MODEL = "stylegan2-hands64"
COPIES = 4
"""Places of each photo that the generator of misaligned hands is trained on."""

SCALES = (0.45, 0.75)
"""The side of the shrunk photo, as a part of the whole."""


def placements(n: int, seed: int) -> Tensor:
    """Random places for n photos: the part of the side that each is shrunk to, and where its corner goes (n, 3).

    Args:
        n: how many.
        seed: of the draw.

    Returns:
        scale, top and left, all as parts of the image's side. The shrunk photo lies within the image.
    """
    drawn = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * drawn[:, 0]
    room = 1 - scale
    return torch.stack([scale, drawn[:, 1] * room, drawn[:, 2] * room], 1)


def place(images: Tensor, where: Tensor, padding: str = "border") -> Tensor:
    """Shrink images and put them somewhere; what they leave free goes on as their border ends.

    Args:
        images: (N, C, H, W).
        where: what `placements` drew (N, 3).
        padding: ``border``, or ``zeros`` for regions.

    Returns:
        (N, C, H, W).
    """
    scale, top, left = where.to(images).unbind(1)
    zero = torch.zeros_like(scale)
    x = torch.stack([1 / scale, zero, (1 - 2 * left - scale) / scale], 1)
    y = torch.stack([zero, 1 / scale, (1 - 2 * top - scale) / scale], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    pad = images.shape[-1] // 2
    small = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 2, 1)[..., :-1, :-1] if pad else images
    return F.grid_sample(small, grid, padding_mode=padding, align_corners=False)


def hand_region(images: Tensor) -> Tensor:
    """Where the hand is in photos of hands before a plain ground.

    Skin is redder than it is blue, in light and in shade; the ground is grey. So: the pixels whose share of red over
    blue lies above Otsu's threshold, of which the largest connected part is kept and its holes are filled.

    Args:
        images: (N, 3, H, W) in [-1, 1].

    Returns:
        bool (N, 1, H, W).
    """
    regions = []
    for image in ((images.clamp(-1, 1) + 1) / 2).numpy():
        red, _, blue = image
        skin = ndimage.gaussian_filter((red - blue) / (image.sum(0) + 0.2), 0.6)
        marked = skin > threshold_otsu(skin)
        parts, count = ndimage.label(marked)
        if count > 1:
            sizes = ndimage.sum_labels(marked, parts, np.arange(1, count + 1))
            marked = parts == 1 + int(np.argmax(sizes))
        regions.append(torch.from_numpy(ndimage.binary_fill_holes(marked)))
    return torch.stack(regions)[:, None]


def misaligned(pictures: Tensor, seed: int, copies: int = 1) -> tuple[Tensor, Tensor]:
    """Photos, each at so many random places.

    Args:
        pictures: (N, C, H, W).
        seed: of the places.
        copies: how many of each photo.

    Returns:
        the images (copies * N, C, H, W), copy by copy, and their places (copies * N, 3).
    """
    where = placements(len(pictures) * copies, seed)
    parts = zip(where.split(len(pictures)), [pictures] * copies)
    return torch.cat([place(images, places) for places, images in parts]), where


def train_generator(pictures: Tensor, folder: Path, start: Path, images_to_see: int) -> Generator:
    """A generator of misaligned hands: the shipped one, trained on with photos at random places. Resumes.

    Args:
        pictures: the photos to train on (N, 3, 64, 64) in [-1, 1].
        folder: where its state is kept.
        start: the state that the shipped generator's training left.
        images_to_see: photos seen from here on.
    """
    if not (folder / STATE).exists():
        save_state(folder / STATE, load_state(start))
    shifted, _ = misaligned(pictures, seed=0, copies=COPIES)
    generator = build_generator(zoo_spec(MODEL))
    first = int(load_state(start)["seen"])
    trainer = GanTrainer(generator, to_uint8(shifted, (-1.0, 1.0)), torch.zeros(0), folder, zoo_training(MODEL))
    trainer.train(first + images_to_see)
    return trainer.average
