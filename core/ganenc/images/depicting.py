"""What is no picture, shown as what it is: signals as curves, one-hot tiles in a colour a channel."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from ganenc_registry.specs import GeneratorSpec
from PIL import Image, ImageDraw
from torch import Tensor

from ganenc.images.ranges import convert_range, to_uint8

CURVES = (192, 384)
"""Height and width in pixels of what shows a signal."""
FINER = 3
"""Curves are drawn so many times as large, then averaged."""
TURN = 0.381966
"""How far apart on the circle of colours one channel is from the one before: the golden angle."""


def depict(images: Tensor, spec: GeneratorSpec) -> Tensor:
    """Images (..., C, H, W) of a generator => pictures of them, uint8 (..., C or 3, height, width): as they are;
    signals as curves over their range of values, a colour a channel; tiles in the colour of their highest channel. 8
    bits are pictures already."""
    if images.dtype == torch.uint8 or spec.shows == "pictures":
        return to_uint8(images, spec.value_range)
    colours = torch.tensor(palette(images.shape[-3]), dtype=torch.uint8, device=images.device)
    if spec.shows == "tiles":
        return rearrange(colours[images.argmax(-3)], "... h w c -> ... c h w")
    low, high = spec.value_range
    rows = convert_range(images.detach().float().cpu()[..., 0, :], (low, high), (0.0, 1.0)).nan_to_num(0.0)
    drawn = torch.stack([_curves(one, -low / (high - low)) for one in rows.reshape(-1, *rows.shape[-2:])])
    return drawn.reshape(*images.shape[:-3], *drawn.shape[1:])


@lru_cache(maxsize=16)
def palette(count: int) -> tuple[tuple[int, ...], ...]:
    """So many colours in 8 bits that are told apart, the first of them blue."""
    tones = [(0.42, 0.7), (0.62, 0.75), (0.3, 0.55)]
    colours = [colorsys.hls_to_rgb((0.58 + TURN * one) % 1, *tones[one % 3]) for one in range(count)]
    return tuple(tuple(round(255 * part) for part in colour) for colour in colours)


def _curves(rows: Tensor, zero: float) -> Tensor:
    """Rows of values (C, W) from 0 to 1 as curves, a line where ``zero`` is: uint8 (3, height, width)."""
    height, width = (FINER * side for side in CURVES)
    canvas = Image.new("RGB", (width, height), "white")
    pen, edge = ImageDraw.Draw(canvas), 4 * FINER
    if 0.0 <= zero <= 1.0:
        level = edge + (1 - zero) * (height - 1 - 2 * edge)
        pen.line([(0, level), (width, level)], fill=(205, 205, 205), width=FINER)
    across = np.linspace(edge, width - 1 - edge, rows.shape[1]) if rows.shape[1] > 1 else np.array([width / 2])
    for row, colour in zip(rows.clamp(0.0, 1.0).numpy(), palette(len(rows)), strict=True):
        places = list(zip(across.tolist(), (edge + (1 - row) * (height - 1 - 2 * edge)).tolist(), strict=True))
        pen.line(places, fill=colour, width=round(1.6 * FINER), joint="curve")
    small = canvas.resize(CURVES[::-1], Image.Resampling.BOX)
    return rearrange(torch.from_numpy(np.array(small)), "h w c -> c h w")
