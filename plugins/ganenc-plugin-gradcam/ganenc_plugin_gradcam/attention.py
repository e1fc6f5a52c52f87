"""Grad-CAM attention: views that look at the object, wherever it is (paper, section 3.2, Figure 6)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from ganenc.objectives import AT2_MARGIN, Attention, TwoWeights, View, three_views
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor

from ganenc_plugin_gradcam.boxes import crop, find_boxes, find_regions
from ganenc_plugin_gradcam.heatmaps import HeatMaps
from ganenc_plugin_gradcam.maps import MethodName
from ganenc_plugin_gradcam.scores import Of

__all__ = ["ClassActivation", "GradCam", "GradCamCrop", "GradCamPlusPlus", "GuidedGradCam", "MapAttention"]

REGION = 0.4
"""The part of the blurred map's peak above which an object's region lies."""
MOST = (0.75, 1 - 2 * AT2_MARGIN)
"""The greatest sides of the crops AT1 and AT2, as parts of the image's: those of the centre crops (Figure 5)."""
Part: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class MapAttention(Attention):
    """What attentions with a heat map share: where they look, shown and told.

    Raises:
        SpecError: if the backbone has no map.
    """

    pictures_only = True

    class Options(TwoWeights):
        """What users can choose."""

        of: Of = Field("predicted", description="what the map is of: the likeliest class, the labels', or the energy")
        method: MethodName = Field("gradcam", description="the way to the map")
        cache: float = Field(64.0, ge=0, description="megabytes of maps that are kept, by the content of their image")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        chosen, given = self.options, self.context
        self.maps = HeatMaps(
            given.backbone, method=chosen.method, of=chosen.of, value_range=given.value_range, cache=chosen.cache
        )

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
    the same for the target and its reconstruction. What is weighed away becomes the middle of the value range.
    """

    class Options(MapAttention.Options):
        """What users can choose."""

        threshold: Part = Field(0.5, description="the part of the map's maximum above which AT2 keeps the image")

    def views(self, image: Tensor, focus: dict[str, Tensor]) -> list[View]:
        """The image, then AT1 and AT2."""
        heat, options = focus["map"].to(image), self.options
        middle = sum(self.context.value_range) / 2

        def weighed(weight: Tensor) -> Tensor:
            return middle + (image - middle) * weight

        return three_views(image, options.weights, lambda: weighed(heat), lambda: weighed(heat > options.threshold))


class GradCamPlusPlus(GradCam):
    """As `GradCam`, with the map of Grad-CAM++, which marks more of an object and is less sure of its class."""

    class Options(GradCam.Options):
        """What users can choose."""

        method: MethodName = Field("gradcam++", description="the way to the map")


class ClassActivation(GradCam):
    """As `GradCam`, with the map of CAM, for a backbone that averages its last features before one last layer."""

    class Options(GradCam.Options):
        """What users can choose."""

        method: MethodName = Field("cam", description="the way to the map")


class GuidedGradCam(GradCam):
    """As `GradCam`, with the map of guided Grad-CAM, as fine as the image."""

    class Options(GradCam.Options):
        """What users can choose."""

        method: MethodName = Field("guided", description="the way to the map")


class GradCamCrop(MapAttention):
    """AT1 and AT2 are crops around what the map marks, AT2 the closer one, resized to the size of the image.

    They are to a misaligned image what the paper's centre crops (Figure 5) are to an aligned one (not in the paper).
    Of `find_boxes`; like these crops they never hold more than 75% and 69% of a side.
    """

    class Options(MapAttention.Options):
        """What users can choose."""

        thresholds: tuple[Part, Part] = Field(
            (0.25, 0.5), description="the parts of the blurred map's peak above which AT1 and AT2 lie"
        )

    def prepare(self, target: Tensor, **context: Any) -> dict[str, Tensor]:
        """The boxes of the targets, ``at1`` and ``at2`` (N, 4): top, left, height and width in pixels; and the map."""
        focus = super().prepare(target, **context)
        at1, at2 = find_boxes(focus["map"], self.options.thresholds, most=MOST)
        return {"at1": at1, "at2": at2, **focus}

    def views(self, image: Tensor, focus: dict[str, Tensor]) -> list[View]:
        """The image, then AT1 and AT2."""
        at1, at2 = self.boxes(image, focus)
        return three_views(image, self.options.weights, lambda: crop(image, at1), lambda: crop(image, at2))

    def boxes(self, target: Tensor, focus: dict[str, Tensor]) -> list[Tensor]:
        """What AT1 and AT2 crop."""
        return [focus["at1"], focus["at2"]]
