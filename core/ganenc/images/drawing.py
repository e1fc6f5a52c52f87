"""Pictures for people: heat maps over images, boxes, and sheets with captions. No loss sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganenc.images.decoding import flatten
from ganenc.images.ranges import Range, convert_range, to_rgb
from ganenc.images.writing import to_image

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
    return rearrange(stops[low].lerp(stops[low + 1], (place - low)[..., None]), "n h w c -> n c h w")


def heat_over(images: Tensor, heat: Tensor, value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Images (N, C, H, W) in greys under a heat map (N, 1, H, W) from 0 to 1 in colours: (N, 3, H, W)."""
    grey = convert_range(to_rgb(images).float(), value_range, (0.0, 1.0)).clamp(0.0, 1.0).mean(1, keepdim=True)
    share = HEAT_SHARES[0] + (HEAT_SHARES[1] - HEAT_SHARES[0]) * heat.to(grey).nan_to_num(0.0).clamp(0.0, 1.0)
    return convert_range(grey.lerp(colours_of(heat.to(grey)), share), (0.0, 1.0), value_range).to(images)


def draw_boxes(images: Tensor, boxes: Sequence[Tensor], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Images (N, C, H, W) => (N, 3, H, W) with the outlines of boxes, each set (N, 4) (top, left, height and width
    in pixels) in its own colour, dark within."""
    drawn = to_rgb(images).clone()
    thick = _thickness(images)
    colours = convert_range(torch.tensor(BOX_COLOURS), (0.0, 1.0), value_range).to(drawn)
    for index, group in enumerate(boxes):
        for image, box in zip(drawn, group.tolist(), strict=True):
            depth = _depth(image, box)
            image[:, (depth >= thick) & (depth < 2 * thick)] = value_range[0]
            image[:, (depth >= 0) & (depth < thick)] = colours[index % len(colours), :, None]
    return drawn


def draw_frame(image: Tensor, corners: Sequence[tuple[float, float]], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """An image (C, H, W) with a closed line through places (x, y) of it, such as a turned box: uint8 (3, H, W)."""
    drawn, thick = flatten(to_image(image.float(), value_range)).convert("RGB"), _thickness(image)
    pen = ImageDraw.Draw(drawn)
    # Half a line inside, so that a frame along the image's border is seen.
    middle = [sum(place[axis] for place in corners) / len(corners) for axis in (0, 1)]
    inner = [tuple(at - math.copysign(thick / 2, at - m) for at, m in zip(place, middle)) for place in corners]
    for width, colour in ((3 * thick, (0, 0, 0)), (thick, tuple(round(255 * part) for part in BOX_COLOURS[0]))):
        pen.line([*inner, inner[0], inner[1]], fill=colour, width=width, joint="curve")
    return _pixels(drawn)


def sheet(rows: Sequence[Mapping[str, Tensor]], value_range: Range = (-1.0, 1.0)) -> Tensor:
    """Rows of pictures (C, H, W), in ``value_range`` or 8 bits, with their names above, on white: uint8 (3,
    height, width); small ones are enlarged pixel by pixel."""
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
    return _pixels(made)


def _tile(picture: Tensor, name: str, value_range: Range) -> Image.Image:
    """One picture with its name."""
    times = max(1, CELL // max(picture.shape[-2:]))
    image = flatten(to_image(picture, value_range)).convert("RGB")
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    font = ImageFont.load_default(14)
    tile = Image.new("RGB", (max(image.width, int(font.getlength(name)) + 1), image.height + 20), "white")
    ImageDraw.Draw(tile).text((0, 0), name, fill=(40, 40, 40), font=font)
    tile.paste(image, (0, 20))
    return tile


def _pixels(image: Image.Image) -> Tensor:
    return rearrange(torch.from_numpy(np.array(image)), "h w c -> c h w")


def _thickness(images: Tensor) -> int:
    return max(1, round(min(images.shape[-2:]) / 96))


def _depth(image: Tensor, box: Sequence[float]) -> Tensor:
    """How many pixels inside a box's border each pixel (H, W) of an image lies; below 0 outside."""
    top, left, height, width = (round(side) for side in box)
    y = torch.arange(image.shape[1], device=image.device)[:, None]
    x = torch.arange(image.shape[2], device=image.device)[None, :]
    return torch.minimum(torch.minimum(y - top, top + height - 1 - y), torch.minimum(x - left, left + width - 1 - x))
