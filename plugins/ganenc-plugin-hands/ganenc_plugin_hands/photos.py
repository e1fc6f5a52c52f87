"""The photos of hands: which are kept out of all training, which the classifier is tested on, and how they are read."""

from __future__ import annotations

from pathlib import Path

import torch
from ganenc import images
from ganenc_registry.errors import ImageError
from torch import Tensor

__all__ = ["RESOLUTION", "read_photos", "split_kept_out"]

RESOLUTION = 64


def split_kept_out(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """The photos of ``folder/0`` to ``folder/9``, as (for training, kept out of all training).

    Kept out are the first photo by name of each class, and the second of classes 0 and 1: twelve in all.

    Raises:
        ImageError: if a class has no photos there.
    """
    training, kept = [], []
    for digit in range(10):
        found = sorted(path for path in (Path(folder) / str(digit)).glob("*") if path.suffix.lower() == ".jpg")
        if not found:
            raise ImageError(f"There are no photos of the digit {digit} in {Path(folder) / str(digit)}.")
        first = 2 if digit < 2 else 1
        kept += found[:first]
        training += found[first:]
    return training, kept


def read_photos(paths: list[Path]) -> tuple[Tensor, Tensor]:
    """Read photos => uint8 images (N, 3, 64, 64) and their digits int64 (N,), the digit being the folder's name."""
    pictures = [images.read(path, size=(RESOLUTION, RESOLUTION)) for path in paths]
    digits = torch.tensor([int(path.parent.name) for path in paths])
    return images.to_uint8(torch.stack(pictures), (-1.0, 1.0)), digits
