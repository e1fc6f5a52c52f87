"""Images side by side."""

from __future__ import annotations

import math

from ganenc_registry.errors import ImageError
from torch import Tensor
from torchvision.utils import make_grid

from ganenc.images.ranges import Range, to_uint8


def grid(images: Tensor, columns: int | None = None, value_range: Range = (-1.0, 1.0), *, gap: int = 2) -> Tensor:
    """Images (N, C, H, W), at least one (else an ImageError), in ``value_range`` or 8 bits, side by side, row by
    row, ``gap`` white pixels between: uint8 (C, height, width). By default columns make the grid about square."""
    if images.ndim != 4 or len(images) == 0:
        raise ImageError(
            f"A grid needs images (N, C, H, W) with N of 1 or more; these have shape {tuple(images.shape)}."
        )
    columns = max(1, columns or math.ceil(math.sqrt(len(images))))
    made: Tensor = make_grid(to_uint8(images, value_range).cpu(), columns, gap, pad_value=255)
    border = 0 if len(images) == 1 else gap  # torchvision puts one image alone without a border.
    return made[: images.shape[1], border : made.shape[1] - border, border : made.shape[2] - border]
