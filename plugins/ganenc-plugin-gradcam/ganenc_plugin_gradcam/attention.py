"""Grad-CAM attention: views that look at the object, wherever it is (paper, section 3.2, Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ganenc.images import Range, draw_boxes, keep_over
from ganenc.objectives import AT2_MARGIN, Attention, Backbone, View, three_views, two_weights
from ganenc_registry.errors import SpecError
from torch import Tensor, nn

from ganenc_plugin_gradcam.boxes import crop, find_boxes, find_regions
from ganenc_plugin_gradcam.heatmaps import HeatMaps
from ganenc_plugin_gradcam.scores import Of

__all__ = ["GradCam", "GradCamCrop", "GradCamPlusPlus", "GuidedGradCam", "MapAttention"]

REGION = 0.4
"""The part of the blurred map's peak above which an object's region lies."""
MOST = (0.75, 1 - 2 * AT2_MARGIN)
"""The greatest sides of the crops AT1 and AT2, as parts of the image's: those of the centre crops (Figure 5)."""


class MapAttention(nn.Module, Attention):
    """What attentions with a heat map share: where they look, shown and told.

    Args:
        maps: the maps; see `HeatMaps`.
    """

    def __init__(self, maps: HeatMaps) -> None:
        super().__init__()
        self.maps = maps

    def prepare(
        self, target: Tensor, *, labels: Tensor | None = None, classes: Tensor | None = None, **context: Any
    ) -> dict[str, Tensor]:
        """The maps of the targets: ``map`` (N, 1, H, W), from 0 to 1, and ``class`` (N,) where it is given.

        Args:
            target: (N, C, H, W).
            labels: of the targets, for maps of given classes.
            classes: what the maps are to be of, whatever they are of else.
            context: ignored.
        """
        focus = {"map": self.maps(target, labels, classes)}
        rows = self.maps.scores.rows(labels, target, classes)
        return focus if rows is None else {**focus, "class": rows.argmax(1)}

    def heat(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor:
        """The map."""
        return focus["map"]

    def region(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor:
        """The rectangle around what the map marks most; see `find_regions`."""
        return find_regions(focus["map"], REGION)

    def classes(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor | None:
        """The class that the map is of, given or predicted (in one more pass); None for a map of the energy."""
        return focus["class"] if "class" in focus else self.maps.predicted(target)


class GradCam(MapAttention):
    """AT1 is the image weighted by its heat map, AT2 the image where the map is above half its maximum (Figure 6).

    The published code takes the map itself for AT1, which no gradient leaves. Here the map of the target is a weight,
    the same for the target and its reconstruction. What is weighed away becomes the middle of ``value_range``.

    Args:
        backbone: the classifier, best the one behind LPIPS; of your own, see `Classifier`.
        weights: mu1 and mu2 of Equation 2. A view of weight 0 is left out.
        value_range: the values of black and white in the images.
        of: the map is of the class ``predicted`` for each image, of the class ``given`` in the labels, or of the
            ``energy``, for images of no class; see `Scores`.
        threshold: the part of the map's maximum above which AT2 keeps the image.
        cache: how many megabytes of maps are kept, by the content of the image and its label.

    Raises:
        SpecError: if an option makes no sense, or the backbone has no map.
    """

    method: ClassVar[str] = "gradcam"

    def __init__(
        self,
        backbone: Backbone,
        weights: Sequence[float] = (0.375, 0.625),
        value_range: Range = (-1.0, 1.0),
        *,
        of: Of = "predicted",
        threshold: float = 0.5,
        cache: float = 64.0,
    ) -> None:
        _check_threshold(threshold)
        super().__init__(HeatMaps(backbone, method=self.method, of=of, value_range=value_range, cache=cache))
        self.weights = two_weights(weights)
        self.threshold = threshold
        self.middle = (value_range[0] + value_range[1]) / 2

    def views(self, image: Tensor, focus: dict[str, Tensor]) -> list[View]:
        """The image, then AT1 and AT2."""
        heat = focus["map"].to(image)

        def weighed(weight: Tensor) -> Tensor:
            return self.middle + (image - self.middle) * weight

        return three_views(image, self.weights, lambda: weighed(heat), lambda: weighed(heat > self.threshold))

    def pictures(self, target: Tensor, focus: dict[str, Tensor], value_range: Range = (-1.0, 1.0)) -> dict[str, Tensor]:
        """The image, the heat map, what the mask of AT2 keeps with the region's outline, and the views."""
        kept = keep_over(target, focus["map"] > self.threshold, value_range)
        boxes = draw_boxes(kept, [self.region(target, focus)], value_range)
        return {**super().pictures(target, focus, value_range), "boxes": boxes}


class GradCamPlusPlus(GradCam):
    """As `GradCam`, with the map of Grad-CAM++, which marks more of an object and is less sure of its class."""

    method = "gradcam++"


class GuidedGradCam(GradCam):
    """As `GradCam`, with the map of guided Grad-CAM, as fine as the image."""

    method = "guided"


class GradCamCrop(MapAttention):
    """AT1 and AT2 are crops around what the map marks, AT2 the closer one, resized to the size of the image.

    They are to a misaligned image what the paper's centre crops (Figure 5) are to an aligned one (not in the paper).
    Of `find_boxes`; like these crops they never hold more than 75% and 69% of a side.

    Args:
        backbone: the classifier, best the one behind LPIPS; of your own, see `Classifier`.
        weights: mu1 and mu2 of Equation 2. A view of weight 0 is left out.
        value_range: the values of black and white in the images.
        of: what the map is of, as `GradCam` has it.
        method: the map: ``gradcam``, ``gradcam++`` or ``guided``.
        thresholds: the parts of the blurred map's peak above which AT1 and AT2 lie.
        cache: how many megabytes of maps are kept, by the content of the image and its label.

    Raises:
        SpecError: if an option makes no sense, or the backbone has no map.
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: Sequence[float] = (0.375, 0.625),
        value_range: Range = (-1.0, 1.0),
        *,
        of: Of = "predicted",
        method: str = "gradcam",
        thresholds: Sequence[float] = (0.25, 0.5),
        cache: float = 64.0,
    ) -> None:
        if len(thresholds) != 2:
            raise SpecError(f"gradcam-crop takes two thresholds, of AT1 and AT2; it was given {len(thresholds)}.")
        for threshold in thresholds:
            _check_threshold(threshold)
        super().__init__(HeatMaps(backbone, method=method, of=of, value_range=value_range, cache=cache))
        self.weights = two_weights(weights)
        self.thresholds = tuple(thresholds)

    def prepare(self, target: Tensor, **context: Any) -> dict[str, Tensor]:
        """The boxes of the targets, ``at1`` and ``at2`` (N, 4): top, left, height and width in pixels; and the map."""
        focus = super().prepare(target, **context)
        at1, at2 = find_boxes(focus["map"], self.thresholds, most=MOST)
        return {"at1": at1, "at2": at2, **focus}

    def views(self, image: Tensor, focus: dict[str, Tensor]) -> list[View]:
        """The image, then AT1 and AT2."""
        return three_views(image, self.weights, lambda: crop(image, focus["at1"]), lambda: crop(image, focus["at2"]))

    def pictures(self, target: Tensor, focus: dict[str, Tensor], value_range: Range = (-1.0, 1.0)) -> dict[str, Tensor]:
        """The image, the heat map, the outlines of AT1 and AT2, and these views."""
        boxes = draw_boxes(target, [focus["at1"], focus["at2"]], value_range)
        return {**super().pictures(target, focus, value_range), "boxes": boxes}


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise SpecError(
            f"A threshold of Grad-CAM is a part of the map's maximum, above 0 and below 1; not {threshold}."
        )
