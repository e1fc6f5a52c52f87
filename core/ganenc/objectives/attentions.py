"""Attention: the views of an image that the losses see, the whole image first (paper, section 3.2, Equation 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from ganenc_registry.components import Component, Context
from ganenc_registry.specs import Spec
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.images import Range, draw_boxes, heat_over, sheet

__all__ = [
    "Attention",
    "CenterAttention",
    "Look",
    "NoAttention",
    "TwoWeights",
    "View",
    "looks",
    "looks_sheet",
    "three_views",
]

AT1_MARGIN = 0.125
"""Part of the width that AT1 removes on each side (Figure 5)."""
AT2_MARGIN = 0.15625
"""Part of both axes that AT2 removes on each side: 1/8 + 1/32 (Figure 5)."""


@dataclass(frozen=True)
class View:
    """One view of a batch of images."""

    name: str
    """``image`` for the whole image, then ``at1`` and ``at2``."""
    weight: float
    """The weight of the view in the objective: 1, then mu1 and mu2 of Equation 2."""
    image: Tensor
    """(N, C, H, W), of the same shape for every view of a batch, in the range of the image it was made from."""


class Look(NamedTuple):
    """One picture of where an attention looks, or one of its views, in targets and in their reconstructions."""

    name: str
    """As `Attention.pictures` has it: ``image`` first, ``heat``, ``boxes``, the views."""
    weight: float | None
    """Of the view in the objective; None for a picture, which no loss sees."""
    target: Tensor
    """(N, C or 3, H, W)."""
    reconstruction: Tensor
    """(N, C or 3, H, W)."""


class Attention(Component, nn.Module, ABC):
    """Makes views. A subclass says what to look at once per target, and then looks there in any image.

    What it is built for is in ``context``: the ``value_range`` of the images and the ``backbone``. `views` is all that
    one needs; `heat`, `region`, `classes` and `pictures` show people and aligners where it looks.
    """

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        nn.Module.__init__(self)
        Component.__init__(self, options, context)

    def prepare(self, target: Tensor, **context: Any) -> Any:
        """Compute what the views need to know of the target, once per target batch.

        The objective calls this with gradients switched off; one that needs them for itself, as Grad-CAM does, switches
        them on with ``torch.enable_grad()``.

        Args:
            target: the images (N, C, H, W) to rebuild.
            context: what the caller knows besides: ``labels``, the generator's classes (N,) or rows (N, classes);
                ``classes``, int64 (N,), what to look for, in the words of the attention's own backbone. Names that
                mean nothing here are ignored.

        Returns:
            the focus: None, a tensor, or tuples, lists and mappings of tensors, each with the sample as its first
            dimension, so that a part of the batch can be selected.
        """
        return None

    @abstractmethod
    def views(self, image: Tensor, focus: Any) -> list[View]:
        """Look at images: differentiable, and the same for a target and its reconstruction.

        Args:
            image: (N, C, H, W), the target or its reconstruction.
            focus: what `prepare` returned for the target.

        Returns:
            the views, the whole image first, under its name ``image`` with weight 1.
        """

    def heat(self, target: Tensor, focus: Any) -> Tensor | None:
        """How much it looks at each pixel of the targets; None where it has no such map, as here.

        Args:
            target: (N, C, H, W), as `prepare` had it.
            focus: what `prepare` returned for it.

        Returns:
            (N, 1, H, W) from 0 to 1.
        """
        return None

    def region(self, target: Tensor, focus: Any) -> Tensor | None:
        """The part of each target that matters, such as the object's box, which `ganenc.inversion` cuts out.

        Args:
            target: (N, C, H, W), as `prepare` had it.
            focus: what `prepare` returned for it.

        Returns:
            (N, 4): top, left, height and width in pixels of the target; None where no part matters more, as here.
        """
        return None

    def classes(self, target: Tensor, focus: Any) -> Tensor | None:
        """The class int64 (N,) for which it looks in each target; None where it looks for none, as here.

        Args:
            target: (N, C, H, W), as `prepare` had it.
            focus: what `prepare` returned for it.
        """
        return None

    def pictures(self, target: Tensor, focus: Any, value_range: Range = (-1.0, 1.0)) -> dict[str, Tensor]:
        """What to show people of where it looks; the losses never see it.

        Args:
            target: (N, C, H, W), as `prepare` had it.
            focus: what `prepare` returned for it.
            value_range: the values of black and white in the target.

        Returns:
            pictures (N, C or 3, H, W) in ``value_range`` by name, in the order to show them: ``image``; ``heat``, the
            map in colours, if there is one; ``boxes``, the image with the region's outline, if there is one; then the
            views by their names.
        """
        shown = {"image": target}
        heat, region = self.heat(target, focus), self.region(target, focus)
        if heat is not None:
            shown["heat"] = heat_over(target, heat, value_range)
        if region is not None:
            shown["boxes"] = draw_boxes(target, [region], value_range)
        shown.update((view.name, view.image) for view in self.views(target, focus) if view.name != "image")
        return shown


class NoAttention(Attention):
    """The whole image alone."""

    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        """The image as the only view."""
        return [View("image", 1.0, image)]


class TwoWeights(Spec):
    """The options of an attention with two views besides the image."""

    weights: tuple[NonNegativeFloat, NonNegativeFloat] = Field(
        (0.375, 0.625), description="mu1 and mu2 of Equation 2; a view of weight 0 is left out"
    )


class CenterAttention(Attention):
    """Two crops around the centre, for aligned photos such as faces (Figure 5).

    AT1 removes 12.5% of the width on each side and keeps the full height; AT2 removes 15.625% on each side of both
    axes. Both are resized to the size of the image (section 3.2), bilinearly; as they only grow, there is nothing to
    antialias.
    """

    Options = TwoWeights

    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        """The image, then AT1 and AT2."""
        return three_views(
            image,
            self.options.weights,
            lambda: _crop(image, 0.0, AT1_MARGIN),
            lambda: _crop(image, AT2_MARGIN, AT2_MARGIN),
        )

    def region(self, target: Tensor, focus: Any = None) -> Tensor:
        """What AT1 crops."""
        return _boxes(target, 0.0, AT1_MARGIN)

    def pictures(self, target: Tensor, focus: Any = None, value_range: Range = (-1.0, 1.0)) -> dict[str, Tensor]:
        """The image, the outlines of AT1 and AT2, and these views."""
        boxes = [self.region(target), _boxes(target, AT2_MARGIN, AT2_MARGIN)]
        return {**super().pictures(target, focus, value_range), "boxes": draw_boxes(target, boxes, value_range)}


@torch.no_grad()
def looks(
    attention: Attention,
    target: Tensor,
    reconstruction: Tensor,
    *,
    labels: Tensor | None = None,
    value_range: Range = (-1.0, 1.0),
) -> list[Look]:
    """Where an attention looks in targets, and what it sees there and in their reconstructions.

    Args:
        attention: where from.
        target: (N, C, H, W) in ``value_range``.
        reconstruction: (N, C, H, W), of the same type and place.
        labels: of the targets, where there are classes.
        value_range: the values of black and white.
    """
    focus = attention.prepare(target, **({} if labels is None else {"labels": labels}))
    weights = {view.name: view.weight for view in attention.views(target, focus)}
    seen, rebuilt = (attention.pictures(image, focus, value_range) for image in (target, reconstruction))
    return [Look(name, weights.get(name), picture, rebuilt[name]) for name, picture in seen.items() if name in rebuilt]


def looks_sheet(found: Sequence[Look], value_range: Range = (-1.0, 1.0), *, most: int = 4) -> Tensor:
    """A sheet of looks, the first ``most`` targets each with their reconstruction below: uint8 (3, height, width)."""
    rows = []
    for index in range(min(most, len(found[0].target))):
        rows.append({f"{look.name}, target": look.target[index] for look in found})
        rows.append({f"{look.name}, rebuilt": look.reconstruction[index] for look in found})
    return sheet(rows, value_range)


def three_views(
    image: Tensor, weights: tuple[float, float], at1: Callable[[], Tensor], at2: Callable[[], Tensor]
) -> list[View]:
    """The image, then AT1 and AT2, each made only if its weight (mu1, mu2) is not 0."""
    parts = zip(("at1", "at2"), weights, (at1, at2), strict=True)
    return [View("image", 1.0, image), *(View(name, weight, make()) for name, weight, make in parts if weight != 0.0)]


def _crop(image: Tensor, vertical: float, horizontal: float) -> Tensor:
    """Remove these parts of the height and width on each side and resize to the full size again."""
    height, width = image.shape[-2:]
    top, left = _margin(height, vertical), _margin(width, horizontal)
    crop = image[..., top : height - top, left : width - left]
    return F.interpolate(crop, size=(height, width), mode="bilinear", align_corners=False)


def _boxes(image: Tensor, vertical: float, horizontal: float) -> Tensor:
    """The boxes (N, 4) that such crops of images (N, C, H, W) take."""
    height, width = image.shape[-2:]
    top, left = _margin(height, vertical), _margin(width, horizontal)
    return torch.tensor([top, left, height - 2 * top, width - 2 * left], device=image.device).expand(len(image), 4)


def _margin(pixels: int, part: float) -> int:
    """The pixels to remove, to the nearest one, with at least one pixel left."""
    return min(int(pixels * part + 0.5), (pixels - 1) // 2)
