"""Where an attention looks in a photo by itself, with no reconstruction beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganenc.objectives.attentions import Attention

__all__ = ["PhotoLook", "look_at"]


@dataclass(frozen=True)
class PhotoLook:
    """Where an attention looks in one photo."""

    size: tuple[int, int]
    """Height and width of the photo, as it was looked at."""
    label: int | None
    """The class that was looked for, where the attention looks for one."""
    box: tuple[int, int, int, int] | None
    """Top, left, height and width of the region; None for the whole photo alike."""
    share: float | None
    """The part of the heat map's mass in it, where there is a map."""
    pictures: Mapping[str, Tensor] = field(repr=False)
    """The photo, where it looks, and what the losses see, by name: (C, H, W) each."""


@torch.no_grad()
def look_at(attention: Attention, photo: Tensor, label: int | None = None) -> PhotoLook:
    """Look at a photo.

    Args:
        attention: what looks.
        photo: (C, H, W) in the attention's range, on its device.
        label: the class to look for; by default the likeliest.
    """
    image = photo[None]
    known = {} if label is None else {"classes": torch.tensor([label], device=photo.device)}
    focus = attention.prepare(image, **known)
    heat, region, found = (get(image, focus) for get in (attention.heat, attention.region, attention.classes))
    box, share = None, None
    if region is not None:
        top, left, height, width = box = tuple(round(side) for side in region[0].tolist())
        if heat is not None:
            share = float(heat[0, 0, top : top + height, left : left + width].sum() / heat[0, 0].sum().clamp_min(1e-12))
    pictures = {
        "photo" if name == "image" else name: picture[0].cpu()
        for name, picture in attention.pictures(image, focus).items()
    }
    size = (photo.shape[-2], photo.shape[-1])
    return PhotoLook(size, None if found is None else int(found[0]), box, share, pictures)
