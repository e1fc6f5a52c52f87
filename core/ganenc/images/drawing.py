"""Pictures for people: heat maps over images, boxes, and sheets with captions. No loss sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from ganenc.images.photos import Range, convert_range, to_uint8

__all__ = ["BOX_COLOURS", "colours_of", "draw_boxes", "draw_frame", "heat_over", "keep_over", "sheet"]

Colour = tuple[float, float, float]

HEAT: tuple[Colour, ...] = (
    (0.05, 0.03, 0.25),
    (0.38, 0.05, 0.50),
    (0.80, 0.18, 0.38),
    (0.98, 0.55, 0.15),
    (1.00, 0.96, 0.60),
)
"""The colours of heat from 0 to 1, evenly spaced, each lighter than the one before."""
HEAT_SHARES = (0.35, 0.75)
"""How much of the colour lies over the image's greys where the heat is 0 and where it is 1."""
DIM = 0.45
"""What is left of the contrast where nothing is kept."""
BOX_COLOURS: tuple[Colour, ...] = ((1.0, 0.85, 0.1), (0.2, 0.85, 1.0), (1.0, 0.35, 0.6))
"""The colours of boxes, in their order."""
CELL = 256
"""The longer side, in pixels, to which a sheet enlarges smaller pictures, by a whole factor."""
GAP = 8


def colours_of(heat: Tensor) -> Tensor:
    """Values (N, 1, H, W) from 0 to 1 => their colours (N, 3, H, W) from 0 to 1; what is no number is 0."""
    stops = torch.tensor(HEAT, device=heat.device, dtype=heat.dtype)
    place = heat[:, 0].nan_to_num(0.0).clamp(0.0, 1.0) * (len(HEAT) - 1)
    low = place.floor().clamp_max(len(HEAT) - 2).long()
    part = (place - low)[..., None]
    return (stops[low] * (1 - part) + stops[low + 1] * part).permute(0, 3, 1, 2)


def heat_over(images: Tensor, heat: Tensor, value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Images with a heat map in colours over their greys.

    Args:
        images: (N, C, H, W) with 1 or 3 channels, in ``value_range``.
        heat: (N, 1, H, W) from 0 to 1.
        value_range: the values of black and white.

    Returns:
        (N, 3, H, W) in ``value_range``.
    """
    grey = convert_range(images.float(), value_range, (0.0, 1.0)).clamp(0.0, 1.0).mean(1, keepdim=True)
    share = HEAT_SHARES[0] + (HEAT_SHARES[1] - HEAT_SHARES[0]) * heat.to(grey).nan_to_num(0.0).clamp(0.0, 1.0)
    mixed = grey * (1 - share) + colours_of(heat.to(grey)) * share
    return convert_range(mixed, (0.0, 1.0), value_range).to(images)


def keep_over(images: Tensor, mask: Tensor, value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Images as they are where a mask keeps them, dim and grey elsewhere.

    Args:
        images: (N, C, H, W) with 1 or 3 channels, in ``value_range``.
        mask: (N, 1, H, W), above 0 where they are kept.
        value_range: the values of black and white.

    Returns:
        (N, 3, H, W) in ``value_range``.
    """
    colour = _colour(images)
    dark = value_range[0] + (colour.mean(1, keepdim=True) - value_range[0]) * DIM
    return torch.where(mask.to(colour) > 0, colour, dark)


def draw_boxes(images: Tensor, boxes: Sequence[Tensor], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Images with the outlines of boxes, each set of boxes in a colour of its own, dark around.

    Args:
        images: (N, C, H, W) with 1 or 3 channels, in ``value_range``.
        boxes: sets of (N, 4): top, left, height and width in pixels.
        value_range: the values of black and white.

    Returns:
        (N, 3, H, W) in ``value_range``.
    """
    drawn = _colour(images).clone()
    thick = max(1, round(min(images.shape[-2:]) / 96))
    shades = [tuple(value_range[0] + (value_range[1] - value_range[0]) * part for part in c) for c in BOX_COLOURS]
    for index, group in enumerate(boxes):
        colour = torch.tensor(shades[index % len(shades)]).to(drawn)
        for image, box in zip(drawn, group.tolist(), strict=True):
            _outline(image, box, thick, 2 * thick, torch.full_like(colour, value_range[0]))
            _outline(image, box, 0, thick, colour)
    return drawn


def draw_frame(image: Tensor, corners: Sequence[tuple[float, float]], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """An image with a closed line through places of it, such as a turned box.

    Args:
        image: (C, H, W) with 1 or 3 channels, in ``value_range``.
        corners: places (x, y) in pixels.
        value_range: the values of black and white.

    Returns:
        uint8 (3, H, W).
    """
    drawn = Image.fromarray(to_uint8(image.float(), value_range).cpu().expand(3, -1, -1).permute(1, 2, 0).numpy())
    pen, thick = ImageDraw.Draw(drawn), max(1, round(min(image.shape[-2:]) / 96))
    # Half a line inside, so that a frame along the image's border is seen.
    middle = [sum(place[axis] for place in corners) / len(corners) for axis in (0, 1)]
    inner = [tuple(at - math.copysign(thick / 2, at - m) for at, m in zip(place, middle)) for place in corners]
    for width, colour in ((3 * thick, (0, 0, 0)), (thick, tuple(round(255 * part) for part in BOX_COLOURS[0]))):
        pen.line([*inner, inner[0], inner[1]], fill=colour, width=width, joint="curve")
    return torch.from_numpy(np.array(drawn)).permute(2, 0, 1)


def sheet(rows: Sequence[Mapping[str, Tensor]], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Pictures with their names above, row by row, on white.

    Args:
        rows: pictures (C, H, W) with 1 or 3 channels, in ``value_range`` or 8 bits, by name; small ones are enlarged
            pixel by pixel.
        value_range: the values of black and white.

    Returns:
        uint8 (3, height, width).
    """
    tiles = [[_tile(picture, name, value_range) for name, picture in row.items()] for row in rows]
    widths = [sum(tile.width + GAP for tile in row) + GAP for row in tiles]
    heights = [max(tile.height for tile in row) + GAP for row in tiles]
    made = Image.new("RGB", (max(widths), sum(heights) + GAP), "white")
    top = GAP
    for row, height in zip(tiles, heights):
        left = GAP
        for tile in row:
            made.paste(tile, (left, top))
            left += tile.width + GAP
        top += height
    return torch.from_numpy(np.array(made)).permute(2, 0, 1)


def _tile(picture: Tensor, name: str, value_range: Range) -> Image.Image:
    """One picture with its name."""
    pixels = to_uint8(picture.detach().float() if picture.is_floating_point() else picture, value_range).cpu()
    times = max(1, CELL // max(pixels.shape[-2:]))
    large = F.interpolate(pixels[None].float(), scale_factor=times, mode="nearest")[0].to(torch.uint8)
    image = Image.fromarray(large.expand(3, -1, -1).permute(1, 2, 0).numpy())
    font = ImageFont.load_default(14)
    width = max(image.width, int(font.getlength(name)) + 1)
    tile = Image.new("RGB", (width, image.height + 20), "white")
    ImageDraw.Draw(tile).text((0, 0), name, fill=(40, 40, 40), font=font)
    tile.paste(image, (0, 20))
    return tile


def _colour(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _outline(image: Tensor, box: Sequence[float], inset: int, upto: int, colour: Tensor) -> None:
    """Colour, in place, the pixels of a box that are from ``inset`` to ``upto`` pixels inside its border."""
    top, left, height, width = (round(side) for side in box)
    y = torch.arange(image.shape[1], device=image.device)[:, None]
    x = torch.arange(image.shape[2], device=image.device)[None, :]
    depth = torch.minimum(torch.minimum(y - top, top + height - 1 - y), torch.minimum(x - left, left + width - 1 - x))
    image[:, (depth >= inset) & (depth < upto)] = colour[:, None]
