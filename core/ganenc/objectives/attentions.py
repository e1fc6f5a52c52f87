"""Attention: the views of an image that the losses see, the whole image first (paper, section 3.2, Equation 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ganenc_registry.components import Component
from ganenc_registry.specs import Spec
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

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


class Attention(Component, nn.Module, ABC):
    """Makes views. A subclass says what to look at once per target, and then looks there in any image.

    ``context`` holds the images' ``value_range`` and the ``backbone``. `views` is all that one needs; the other methods
    show people and aligners where it looks. All take images (N, C, H, W), and as ``focus`` what `prepare` returned for
    the target.
    """

    def prepare(self, target: Tensor, **context: Any) -> Any:
        """Compute what the views need to know of the target images, the focus, once per target batch: None, a tensor,
        or tuples, lists and dictionaries of tensors, each with the sample as its first dimension.

        It runs without gradients; one that needs them for itself, as Grad-CAM does, uses ``torch.enable_grad()``.
        ``context`` may hold ``labels``, the generator's classes (N,) or rows (N, classes), and ``classes``, int64 (N,),
        what to look for in the words of the attention's own backbone. Names that mean nothing here are ignored.
        """
        return None

    @abstractmethod
    def views(self, image: Tensor, focus: Any) -> list[View]:
        """The views of a target or its reconstruction, differentiable, and made the same way for both: first the whole
        image, under its name ``image`` with weight 1."""

    def heat(self, target: Tensor, focus: Any) -> Tensor | None:
        """How much it looks at each pixel of the targets, (N, 1, H, W) from 0 to 1; None where it has no such map."""
        return None

    def region(self, target: Tensor, focus: Any) -> Tensor | None:
        """The part of each target that matters, which `ganenc.inversion` cuts out: (N, 4), top, left, height and width
        in pixels of the target; None where no part matters more."""
        return None

    def boxes(self, target: Tensor, focus: Any) -> list[Tensor]:
        """What to outline for people, sets of boxes (N, 4): the region, if there is one."""
        region = self.region(target, focus)
        return [] if region is None else [region]

    def classes(self, target: Tensor, focus: Any) -> Tensor | None:
        """The class int64 (N,) for which it looks in each target; None where it looks for none."""
        return None


class NoAttention(Attention):
    """The whole image alone."""

    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image)]


class TwoWeights(Spec):
    """The options of an attention with two views besides the image."""

    weights: tuple[NonNegativeFloat, NonNegativeFloat] = Field(
        (0.375, 0.625), description="mu1 and mu2 of Equation 2; a view of weight 0 is left out"
    )


class CenterAttention(Attention):
    """Two crops around the centre, for aligned photos such as faces (Figure 5).

    AT1 removes 12.5% of the width on each side and keeps the full height; AT2 removes 15.625% on each side of both
    axes. Both are resized bilinearly to the size of the image (section 3.2); they only grow, so nothing is antialiased.
    """

    Options = TwoWeights

    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return three_views(
            image,
            self.options.weights,
            lambda: _crop(image, 0.0, AT1_MARGIN),
            lambda: _crop(image, AT2_MARGIN, AT2_MARGIN),
        )

    def region(self, target: Tensor, focus: Any = None) -> Tensor:
        """What AT1 crops."""
        return self.boxes(target)[0]

    def boxes(self, target: Tensor, focus: Any = None) -> list[Tensor]:
        """What AT1 and AT2 crop."""
        crops = [_box(target, 0.0, AT1_MARGIN), _box(target, AT2_MARGIN, AT2_MARGIN)]
        return [torch.tensor(box, device=target.device).expand(len(target), 4) for box in crops]


def three_views(
    image: Tensor, weights: tuple[float, float], at1: Callable[[], Tensor], at2: Callable[[], Tensor]
) -> list[View]:
    """The image, then AT1 and AT2, each made only if its weight (mu1, mu2) is not 0."""
    parts = zip(("at1", "at2"), weights, (at1, at2), strict=True)
    return [View("image", 1.0, image), *(View(name, weight, make()) for name, weight, make in parts if weight != 0.0)]


def _crop(image: Tensor, vertical: float, horizontal: float) -> Tensor:
    """Remove these parts of the height and width on each side and resize to the full size again."""
    top, left, height, width = _box(image, vertical, horizontal)
    crop = image[..., top : top + height, left : left + width]
    return F.interpolate(crop, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _box(image: Tensor, vertical: float, horizontal: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of such a crop of images (N, C, H, W): whole pixels, at least one."""
    height, width = image.shape[-2:]
    top, left = (
        min(int(side * part + 0.5), (side - 1) // 2) for side, part in ((height, vertical), (width, horizontal))
    )
    return top, left, height - 2 * top, width - 2 * left
