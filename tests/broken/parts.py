"""Blocks, losses, attentions and backbones that are broken in one way each."""

from __future__ import annotations

from typing import Any

import torch
from ganenc.encoders import AdaptiveBlock
from ganenc.objectives import MSE, Attention, Backbone, BackboneOutput, CenterAttention, NoAttention, View
from ganenc.testing.examples import ExampleBackbone
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BROKEN_ATTENTIONS", "BROKEN_BACKBONES", "BROKEN_BLOCKS", "BROKEN_LOSSES"]


class NeverHalves(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        return F.interpolate(features, size=x.shape[-2:]), styles


class NoStyles(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        return super().forward(x, condition)[0], (None, None)


class FeaturesAlone(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        return super().forward(x, condition)[0]


class DropsFeatures(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        return features * (1 + 0.1 * torch.rand_like(features)), styles


class WritesItsInput(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        found = super().forward(x, condition)
        with torch.no_grad():
            x.mul_(0.5)
        return found


class GathersInEvalMode(AdaptiveBlock):
    def __init__(self, *built_for: Any) -> None:
        super().__init__(*built_for)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        self.get_buffer("seen").add_(1)
        return super().forward(x, condition)


class MixesSamples(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        return features - 0.1 * features.mean(0, keepdim=True), styles


class CutsFeatures(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x.detach(), condition)
        return features, styles


class IdleWeight(AdaptiveBlock):
    def __init__(self, *built_for: Any) -> None:
        super().__init__(*built_for)
        self.idle = nn.Parameter(torch.zeros(3))


class IgnoresConditions(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        return super().forward(x, None if condition is None else torch.zeros_like(condition))


class KeepsToItself(AdaptiveBlock):
    def __init__(self, *built_for: Any) -> None:
        super().__init__(*built_for)
        self.shift = float(torch.rand(()))

    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        return features + self.shift, styles


class InSinglePrecision(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        return features.float(), styles


class LeadsAstray(AdaptiveBlock):
    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        features, styles = super().forward(x, condition)
        back = [None if one is None else 2 * one.detach() - one for one in (features, *styles)]
        return back[0], (back[1], back[2])


BROKEN_BLOCKS: list[tuple[type, str]] = [
    (object, "builds-in-every-place"),
    (NeverHalves, "features-keep-to-the-spec"),
    (FeaturesAlone, "features-keep-to-the-spec"),
    (NoStyles, "styles-have-the-widths-of-the-spec"),
    (DropsFeatures, "same-features-twice"),
    (WritesItsInput, "same-features-twice"),
    (GathersInEvalMode, "same-features-twice"),
    (MixesSamples, "samples-do-not-mix"),
    (CutsFeatures, "gradients-reach-input-and-weights"),
    (IdleWeight, "gradients-reach-input-and-weights"),
    (IgnoresConditions, "conditions-matter"),
    (KeepsToItself, "weights-come-back"),
    (InSinglePrecision, "precision-and-device-follow-the-weights"),
    (LeadsAstray, "encoder-of-it-learns"),
]


class Trains(MSE):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gain = nn.Parameter(torch.ones(()))


class KeepsItsBackboneSecret(MSE):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.backbone = self.context.backbone


class OneForAll(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference).mean()


class InHalf(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference).half()


class NeverNothing(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference) + 1


class Root(MSE):
    """Its gradient is not finite where images are equal."""

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference).sqrt()


class Praises(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return -super().forward(view, reference)


class HoldsTheGraph(MSE):
    def prepare(self, target_view: Tensor) -> Tensor:
        return target_view * 1.0


class Cuts(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view.detach(), reference)


class Astray(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        values = super().forward(view, reference)
        return 2 * values.detach() - values


class Averages(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        values = super().forward(view, reference)
        return values.mean().expand_as(values)


class FlatReference(MSE):
    """Its reference has not the sample first."""

    def prepare(self, target_view: Tensor) -> Tensor:
        return super().prepare(target_view).transpose(0, 1)

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference.transpose(0, 1))


class OneRange(MSE):
    def __init__(self, *given: Any) -> None:
        super().__init__()


class Random(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view, reference) * (1 + 0.1 * torch.rand(()))


class Spoils(MSE):
    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        values = super().forward(view, reference)
        with torch.no_grad():
            view.mul_(0.5)
        return values


class StaysBehind(MSE):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.weights = torch.ones(1, 3, 1, 1)

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        return super().forward(view * self.weights, reference)


BROKEN_LOSSES: list[tuple[type, str]] = [
    (object, "builds-as-an-objective-builds-it"),
    (Trains, "builds-as-an-objective-builds-it"),
    (KeepsItsBackboneSecret, "builds-as-an-objective-builds-it"),
    (OneForAll, "one-number-a-sample"),
    (InHalf, "one-number-a-sample"),
    (NeverNothing, "equal-images-cost-nothing"),
    (Root, "equal-images-cost-nothing"),
    (Praises, "worse-images-cost-more"),
    (HoldsTheGraph, "gradient-goes-to-the-view-alone"),
    (Cuts, "gradient-goes-to-the-view-alone"),
    (Astray, "following-the-gradient-lowers-it"),
    (Averages, "samples-do-not-mix"),
    (FlatReference, "samples-do-not-mix"),
    (OneRange, "range-changes-nothing"),
    (Random, "calls-change-nothing"),
    (Spoils, "calls-change-nothing"),
    (StaysBehind, "device-follows-the-images"),
]


class NotTheImageFirst(CenterAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return super().views(image, focus)[1:]


class HeavyImage(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 2.0, image)]


class CropsAlone(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image), View("crop", 1.0, image[..., 2:, 2:])]


class TwiceTheName(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image), View("image", 1.0, image)]


class DetachesViews(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image), View("still", 1.0, image.detach())]


class LooksAtRandom(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image), View("some", 1.0, image * torch.rand(()))]


class PaintsOver(NoAttention):
    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        if not image.requires_grad:
            image[..., :2] = 0
        return [View("image", 1.0, image)]


class OneFocusForAll(NoAttention):
    def prepare(self, target: Tensor, **context: Any) -> Tensor:
        return target.mean((0, 2, 3))

    def views(self, image: Tensor, focus: Any = None) -> list[View]:
        return [View("image", 1.0, image), View("scaled", 1.0, image * focus.mean())]


class NotBySample(NoAttention):
    def prepare(self, target: Tensor, **context: Any) -> Tensor:
        return torch.zeros(1)


class KnowsAllContext(NoAttention):
    def prepare(self, target: Tensor, *, labels: Tensor | None = None) -> None:
        return None


class LooksBeyond(NoAttention):
    def region(self, target: Tensor, focus: Any) -> Tensor:
        height, width = target.shape[-2:]
        return torch.tensor([[0.0, 0.0, height, 2.0 * width]]).expand(len(target), 4)


class HasWeights(NoAttention):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gain = nn.Parameter(torch.ones(()))


BROKEN_ATTENTIONS: list[tuple[type, str]] = [
    (object, "builds-as-an-objective-builds-it"),
    (Attention, "builds-as-an-objective-builds-it"),
    (NotTheImageFirst, "first-view-is-the-whole-image"),
    (HeavyImage, "first-view-is-the-whole-image"),
    (CropsAlone, "views-have-one-shape"),
    (TwiceTheName, "views-have-one-shape"),
    (DetachesViews, "views-are-differentiable"),
    (LooksAtRandom, "equal-images-have-equal-views"),
    (PaintsOver, "equal-images-have-equal-views"),
    (OneFocusForAll, "samples-do-not-mix"),
    (NotBySample, "samples-do-not-mix"),
    (LooksBeyond, "regions-and-pictures-fit-the-target"),
    (KnowsAllContext, "unknown-context-is-ignored"),
    (HasWeights, "it-keeps-no-weights-that-train"),
]


class Nameless(ExampleBackbone):
    name = None  # type: ignore[assignment]


class VectorsAsFeatures(ExampleBackbone):
    def forward(self, images: Tensor) -> BackboneOutput:
        output = super().forward(images)
        return BackboneOutput([one.mean((2, 3)) for one in output.features], output.logits)


class FewerLogits(ExampleBackbone):
    def forward(self, images: Tensor) -> BackboneOutput:
        output = super().forward(images)
        assert output.logits is not None
        return BackboneOutput(output.features, output.logits[:, 1:])


class TakesColourAlone(ExampleBackbone):
    def fit(self, images: Tensor) -> Tensor:
        return images


class LooksElsewhere(ExampleBackbone):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        object.__setattr__(self, "last_convolution", nn.Conv2d(3, 3, 1))


class NotInTheLogits(ExampleBackbone):
    def forward(self, images: Tensor) -> BackboneOutput:
        output = super().forward(images)
        return BackboneOutput(output.features, self.head(self.first(images).mean((2, 3)).repeat(1, 2)[:, :9]))


class Thaws(ExampleBackbone):
    def train(self, mode: bool = True) -> Any:
        return nn.Module.train(self, mode)


class Gathers(ExampleBackbone):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Tensor) -> BackboneOutput:
        self.get_buffer("passes").add_(1)
        return super().forward(images)


class WithoutGradient(ExampleBackbone):
    def forward(self, images: Tensor) -> BackboneOutput:
        with torch.no_grad():
            output = super().forward(images)
            return BackboneOutput(output.features, output.logits)


class WeighsBatches(ExampleBackbone):
    def forward(self, images: Tensor) -> BackboneOutput:
        output = super().forward(images)
        return BackboneOutput([one - one.mean(0, keepdim=True) for one in output.features], output.logits)


class OneLinearWeight(ExampleBackbone):
    def linear_weights(self) -> list[Tensor]:
        return [torch.ones(6)]


class NegativeWeights(ExampleBackbone):
    def linear_weights(self) -> list[Tensor]:
        return [torch.ones(6), -torch.ones(9)]


class ShiftStays(ExampleBackbone):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.shift = torch.full((1, 3, 1, 1), 0.1)

    def forward(self, images: Tensor) -> BackboneOutput:
        return super().forward(images + self.shift)


BROKEN_BACKBONES: list[tuple[type, str]] = [
    (object, "builds-without-arguments"),
    (Backbone, "builds-without-arguments"),
    (Nameless, "builds-without-arguments"),
    (VectorsAsFeatures, "features-are-maps"),
    (FewerLogits, "logits-fit-the-classes"),
    (TakesColourAlone, "any-image-is-fitted"),
    (LooksElsewhere, "last-convolution-is-used"),
    (NotInTheLogits, "last-convolution-is-used"),
    (Thaws, "frozen-stays-frozen"),
    (Gathers, "frozen-stays-frozen"),
    (WithoutGradient, "gradient-reaches-the-images"),
    (WeighsBatches, "samples-do-not-mix"),
    (OneLinearWeight, "linear-weights-fit-the-features"),
    (NegativeWeights, "linear-weights-fit-the-features"),
    (ShiftStays, "device-follows-the-weights"),
]
