"""Pictures of where an attention looks, for people; no loss sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc.images import depict, draw_boxes, heat_over, sheet
from ganenc.objectives.attentions import Attention


class Look(NamedTuple):
    """One picture of where an attention looks, or one of its views, in targets and in their reconstructions."""

    name: str
    """As `pictures` has it."""
    weight: float | None
    """Of the view in the objective; None for a picture, which no loss sees."""
    target: Tensor
    """(N, C or 3, H, W)."""
    reconstruction: Tensor
    """(N, C or 3, H, W)."""


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


def pictures(attention: Attention, image: Tensor, focus: Any) -> dict[str, Tensor]:
    """Where an attention looks in targets or their reconstructions (N, C, H, W): pictures (N, C or 3, H, W) by name, in
    the order to show them: ``image``; ``heat``, the map in colours, and ``boxes``, the image with outlines, if there
    are some and images are pictures; then the views by their names."""
    shown, value_range, spec = {"image": image}, attention.context.value_range, attention.context.generator
    drawn = spec is None or spec.shows == "pictures"
    heat, boxes = (attention.heat(image, focus), attention.boxes(image, focus)) if drawn else (None, [])
    if heat is not None:
        shown["heat"] = heat_over(image, heat, value_range)
    if boxes:
        shown["boxes"] = draw_boxes(image, boxes, value_range)
    return {**shown, **{view.name: view.image for view in attention.views(image, focus)}}


@torch.no_grad()
def looks(attention: Attention, target: Tensor, reconstruction: Tensor, *, labels: Tensor | None = None) -> list[Look]:
    """Where an attention looks in targets, and what it sees there and in their reconstructions, both (N, C, H, W);
    ``labels`` are the targets', where there are classes."""
    focus = attention.prepare(target, labels=labels)
    weights = {view.name: view.weight for view in attention.views(target, focus)}
    seen, rebuilt = (pictures(attention, image, focus) for image in (target, reconstruction))
    return [Look(name, weights.get(name), picture, rebuilt[name]) for name, picture in seen.items() if name in rebuilt]


def looks_sheet(found: Sequence[Look], spec: GeneratorSpec, *, most: int = 4) -> Tensor:
    """A sheet of looks at a generator's images, the first ``most`` targets each with their reconstruction below: uint8
    (3, height, width)."""
    rows = []
    for index in range(min(most, len(found[0].target))):
        rows.append({f"{look.name}, target": depict(look.target[index], spec) for look in found})
        rows.append({f"{look.name}, rebuilt": depict(look.reconstruction[index], spec) for look in found})
    return sheet(rows)


@torch.no_grad()
def look_at(attention: Attention, photo: Tensor, label: int | None = None) -> PhotoLook:
    """Look at a photo (C, H, W) on the attention's device for a class, by default the likeliest."""
    image = photo[None]
    focus = attention.prepare(image, classes=None if label is None else torch.tensor([label], device=photo.device))
    heat, region, found = (get(image, focus) for get in (attention.heat, attention.region, attention.classes))
    box, share = None, None
    if region is not None:
        top, left, height, width = box = tuple(round(side) for side in region[0].tolist())
        if heat is not None:
            share = float(heat[0, 0, top : top + height, left : left + width].sum() / heat[0, 0].sum().clamp_min(1e-12))
    seen = {
        "photo" if name == "image" else name: picture[0].cpu()
        for name, picture in pictures(attention, image, focus).items()
    }
    return PhotoLook((photo.shape[-2], photo.shape[-1]), None if found is None else int(found[0]), box, share, seen)
