"""Inverters, metrics and aligners that are broken in one way each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from ganenc.editing import Direction, PCAFinder, Search
from ganenc.inversion import Aligner, CenterAligner, Encode, Inversion, Operator, Optimize, Transform
from ganenc.measures import PSNR, Metric
from ganenc.objectives import Batch
from ganenc.training import EncoderRecipe
from ganenc_registry.specs import Vector
from torch import Tensor, nn

__all__ = [
    "BROKEN_ALIGNERS",
    "BROKEN_COMMANDS",
    "BROKEN_FINDERS",
    "BROKEN_INVERTERS",
    "BROKEN_METRICS",
    "BROKEN_OPERATORS",
    "BROKEN_RECIPES",
]


class FewerHistories(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        return replace(super().invert(*given, **options), history=[])


class LeavesOutAPart(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        done = super().invert(*given, **options)
        return replace(done, latents=done.latents.only("w" if "w" in done.latents else "z"))


class ShowsAnotherImage(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        done = super().invert(*given, **options)
        return replace(done, reconstructions=done.reconstructions.clamp(-0.1, 0.1))


class KeepsTheGraph(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        done = super().invert(*given, **options)
        return replace(done, reconstructions=done.reconstructions.requires_grad_())


class DrawsAny(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        done = super().invert(images, generator, encoder, **options)
        with torch.no_grad():
            labels = options.get("labels")
            latents = generator.complete(generator.sample(len(images), seed=77, labels=labels))
            return replace(done, latents=latents, reconstructions=generator.synthesize(latents))


class DrawsUnseeded(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        return super().invert(images + 0.05 * torch.randn_like(images), generator, encoder, **options)


class SpoilsThePhotos(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        done = super().invert(images, generator, encoder, **options)
        images.mul_(0.9)
        return done


class TrainsTheEncoderGiven(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        with torch.no_grad():
            next(encoder.parameters()).mul_(1.001)
        return super().invert(images, generator, encoder, **options)


class TrainsTheGenerator(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        with torch.no_grad():
            next(generator.parameters()).mul_(1.001)
        return super().invert(images, generator, encoder, **options)


class LeavesTrainMode(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        done = super().invert(images, generator, encoder, **options)
        encoder.train()
        return done


class ForgetsLabels(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        done = super().invert(images, generator, encoder, **options)
        latents = encoder(images, labels=options.get("labels")).detach() if options.get("labels") is not None else None
        return done if latents is None else replace(done, latents=latents)


class NeedsAnEncoder(Encode):
    needs_encoder = False

    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        encoder.eval()
        return super().invert(images, generator, encoder, **options)


class TwoOrMore(Encode):
    def invert(self, images: Tensor, generator: Any, encoder: Any, **options: Any) -> Inversion:
        return super().invert(torch.cat([images[:1], images[-1:]]), generator, encoder, **options)


class CountsFromZero(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        if options.get("on_step"):
            options["on_step"](0, 0, 3, {"total": 1.0})
        return super().invert(*given, **options)


class TellsTensors(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        if options.get("on_step"):
            options["on_step"](0, 1, 3, {"total": torch.ones(())})
        return super().invert(*given, **options)


class KeepsTensorsInSettings(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        return replace(super().invert(*given, **options), settings={"batch": torch.ones(3)})


class NeedsAnObjective(Optimize):
    needs_objective = False


class TellsAnotherStep(Optimize):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        return replace(super().invert(*given, **options), settings={"steps": 1})


class TellsNoOption(Encode):
    def invert(self, *given: Any, **options: Any) -> Inversion:
        return replace(super().invert(*given, **options), settings={"method": "encode"})


BROKEN_INVERTERS: list[tuple[type, str]] = [
    (object, "builds-by-its-options"),
    (FewerHistories, "inversion-is-whole"),
    (LeavesOutAPart, "inversion-is-whole"),
    (ShowsAnotherImage, "latents-rebuild-the-reconstructions"),
    (KeepsTheGraph, "latents-rebuild-the-reconstructions"),
    (DrawsAny, "photos-come-nearer-than-the-average"),
    (DrawsUnseeded, "same-seed-gives-the-same-latents"),
    (SpoilsThePhotos, "everything-given-stays"),
    (TrainsTheEncoderGiven, "everything-given-stays"),
    (TrainsTheGenerator, "everything-given-stays"),
    (LeavesTrainMode, "everything-given-stays"),
    (ForgetsLabels, "labels-are-kept"),
    (NeedsAnEncoder, "needs-are-declared"),
    (NeedsAnObjective, "needs-are-declared"),
    (TwoOrMore, "one-photo-is-enough"),
    (CountsFromZero, "steps-are-told-in-order"),
    (TellsTensors, "steps-are-told-in-order"),
    (KeepsTensorsInSettings, "settings-are-plain-data"),
    (TellsAnotherStep, "settings-replay-it"),
    (TellsNoOption, "settings-replay-it"),
]


class OwnsNothing(EncoderRecipe):
    def own(self, *_: Any) -> None:
        return


class TellsNoTotal(EncoderRecipe):
    def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
        terms = super().step(batch, update)
        return {name: value for name, value in terms.items() if name != "total"}


class TrainsTheNetwork(EncoderRecipe):
    def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
        terms = super().step(batch, update)
        with torch.no_grad():
            next(self.context.network.parameters()).mul_(1.001)
        return terms


class StepsByItself(EncoderRecipe):
    def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
        self.losses(batch)["total"].mean().backward()
        self.optimisers["encoder"].step()
        return super().step(batch, update)


class ForgetsItsCount(EncoderRecipe):
    count = 1.0

    def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
        self.count += 1
        return super().step(batch, update)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {name: value * self.count**2 for name, value in super().losses(batch).items()}


class MixesSamples(EncoderRecipe):
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        terms, apart = super().losses(batch), (batch.images - batch.images.mean(0)).square().mean()
        return {**terms, "total": terms["total"] * (1 + apart)}


class RebuildsSmall(EncoderRecipe):
    def rebuild(self, batch: Batch) -> Tensor:
        return super().rebuild(batch)[..., ::2, ::2]


class FindsNothing(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        return []


class CallsAllAlike(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        return super().find(search)[:1] * 2


class ForgetsItsModel(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        (one, *_) = super().find(search)
        return [Direction(one.name, one.parts, one.tensors, space=one.space)]


class LiesInAnotherSpace(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        z, model = Vector(dim=6), super().find(search)[0].model
        return [Direction("z", [z], {"z": torch.ones(6)}, space="z", model=model)]


class FindsAnyWay(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        (one, *_) = super().find(search)
        return [Direction(one.name, one.parts, {"w": torch.randn(1, 6)}, space="w", model=one.model)]


class UnfreezesTheGenerator(PCAFinder):
    def find(self, search: Search) -> list[Direction]:
        found = super().find(search)
        search.generator.requires_grad_(True)
        return found


BROKEN_FINDERS: list[tuple[type, str]] = [
    (object, "finds-directions"),
    (FindsNothing, "finds-directions"),
    (CallsAllAlike, "finds-directions"),
    (ForgetsItsModel, "directions-know-their-model"),
    (LiesInAnotherSpace, "directions-move-its-images"),
    (FindsAnyWay, "same-seed-finds-the-same"),
    (UnfreezesTheGenerator, "generator-stays-as-it-is"),
]


BROKEN_RECIPES: list[tuple[type, str]] = [
    (object, "builds-for-a-run"),
    (OwnsNothing, "builds-for-a-run"),
    (TellsNoTotal, "terms-are-finite-and-named"),
    (TrainsTheNetwork, "step-changes-only-what-it-owns"),
    (StepsByItself, "nothing-moves-without-updates"),
    (ForgetsItsCount, "state-round-trips-to-the-bit"),
    (MixesSamples, "batches-go-in-parts"),
    (RebuildsSmall, "rebuilds-images"),
]


class TellsNothing(PSNR):
    def measure(self, *given: Any) -> Any:
        return "good"


class SaysNotWhichIsBetter(Metric):
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return [0.0] * len(a)


class DividesByNothing(PSNR):
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return [float("nan") for _ in a]


class AlwaysTheSame(PSNR):
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return [1.0 for _ in a]


class WrongWayRound(PSNR):
    higher_is_better = False


class BatchAverage(PSNR):
    def measure(self, *given: Any) -> list[float]:
        values = super().measure(*given)
        return [sum(values) / len(values)] * len(values)


class OfOneRange(Metric):
    """Mean square."""

    higher_is_better = False

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return [float(one) for one in (a - b).square().flatten(1).mean(1)]


class CountsEverything(PSNR):
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return super().measure(a, b, None)


class TakesAnyShape(PSNR):
    def __call__(self, a: Tensor, b: Tensor, *, region: Tensor | None = None) -> list[float] | float:
        return super().__call__(a[..., :8, :8], b[..., :8, :8])


class ClampsInPlace(PSNR):
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        values = super().measure(a, b, region)
        b.clamp_(-0.5, 0.5)
        return values


BROKEN_METRICS: list[tuple[type, str]] = [
    (TellsNothing, "takes-two-batches-of-images"),
    (SaysNotWhichIsBetter, "takes-two-batches-of-images"),
    (DividesByNothing, "numbers-are-finite"),
    (AlwaysTheSame, "equal-images-are-best"),
    (WrongWayRound, "equal-images-are-best"),
    (BatchAverage, "pairs-do-not-mix"),
    (OfOneRange, "range-changes-nothing"),
    (CountsEverything, "region-alone-counts"),
    (TakesAnyShape, "other-shapes-are-refused"),
    (ClampsInPlace, "calls-change-nothing"),
]


class AnotherSize(CenterAligner):
    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        return super().transform(photo, (8, 8))


class OutsideThePhoto(Aligner):
    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        whole = (photo.shape[-2], photo.shape[-1])
        return Transform.of_box((2.0 * whole[0], 0.0, 10.0, 10.0), size, whole)


class Shakes(Aligner):
    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        whole = (photo.shape[-2], photo.shape[-1])
        return Transform.of_box((float(torch.rand(())), 0.0, 10.0, 10.0), size, whole)


class NoContext(CenterAligner):
    def transform(self, photo: Tensor, size: tuple[int, int]) -> Transform:  # type: ignore[override]
        return super().transform(photo, size)


BROKEN_ALIGNERS: list[tuple[type, str]] = [
    (object, "builds-by-its-options"),
    (AnotherSize, "transform-has-both-sizes"),
    (OutsideThePhoto, "transform-touches-the-photo"),
    (Shakes, "same-photo-lies-the-same-twice"),
    (NoContext, "same-photo-lies-the-same-twice"),
]


class Halved(Operator):
    """Sound: half the size."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 2)

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // 2, size[1] // 2


class DeclaresAnotherSize(Halved):
    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size


class GivesOneChannel(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(1, keepdim=True)


class GuessesAnotherSize(Halved):
    def guess(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        return seen


class Trains(Halved):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gain = nn.Parameter(torch.ones(()))


class GivesSinglePrecision(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float())


class WritesInPlace(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return images.mul_(0.5) if not images.requires_grad else images * 0.5


class DrawsAnew(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return images * (torch.rand(images.shape[-2:]) > 0.5)


class MixesSamples(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return images - images.mean(0)


class CutsTheGradient(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return images.detach() + 0 * images


class StaysOnTheCpu(Halved):
    mask = torch.ones(1, 1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.mask.expand(1, 1, *images.shape[-2:]).to(images.dtype)


BROKEN_OPERATORS: list[tuple[type, str]] = [
    (object, "builds-by-its-options"),
    (Trains, "builds-by-its-options"),
    (GivesSinglePrecision, "one-picture-a-sample"),
    (WritesInPlace, "one-picture-a-sample"),
    (DeclaresAnotherSize, "picture-has-the-declared-size"),
    (GivesOneChannel, "picture-has-the-declared-size"),
    (GuessesAnotherSize, "picture-has-the-declared-size"),
    (DrawsAnew, "same-images-look-the-same"),
    (MixesSamples, "samples-do-not-mix"),
    (CutsTheGradient, "gradient-reaches-the-images"),
    (StaysOnTheCpu, "device-follows-the-images"),
]


class NotAFunction:
    """A class."""


def without_help(photo: str) -> None:
    pass


def of_no_type(photo: str) -> None:
    """A command whose argument is of a type that is not there."""


of_no_type.__annotations__ = {"photo": "Nowhere"}

BROKEN_COMMANDS: list[tuple[Any, str]] = [
    (NotAFunction, "a-function-that-typer-calls"),
    (of_no_type, "a-function-that-typer-calls"),
    (without_help, "help-says-what-it-is-for"),
]
