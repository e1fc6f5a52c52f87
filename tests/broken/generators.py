"""Generators that are broken in one way each."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.testing.examples import ExampleGenerator, conditional_spec, styled_spec, vector_spec
from ganenc_registry.specs import Condition, GeneratorSpec
from torch import Tensor, nn

__all__ = ["BROKEN_GENERATORS"]


class Styled(ExampleGenerator):
    """Styles, a constant, noise."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or styled_spec())


class Classes(ExampleGenerator):
    """Classes."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or conditional_spec())


class TakesNoSpec(ExampleGenerator):
    def __init__(self, size: int) -> None:
        super().__init__(vector_spec((size, size)))


class OtherSpec(ExampleGenerator):
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(vector_spec((12, 20)) if spec is None else vector_spec())


class BuiltFrozen(ExampleGenerator):
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.requires_grad_(False)


class NoGenerator:
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        self.spec = spec


class TuplesInOptions(ExampleGenerator):
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or vector_spec().model_copy(update={"options": {"widths": (1, 2)}}))


class Smaller(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise)[..., 1:]


class NotANumber(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) * torch.inf


class FromMinusOne(ExampleGenerator):
    """Its spec says from 0 to 1."""

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) * 2 - 1


class FromZero(Styled):
    """Its spec says from -1 to 1."""

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) * 0.5 + 0.5


class FarAway(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) + 3


class WeighsTheBatch(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        images = super().synthesize(latents, noise=noise)
        return images - 0.1 * images.mean(0, keepdim=True)


class Squeezes(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise).squeeze(0)


class Counts(ExampleGenerator):
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.register_buffer("calls", torch.zeros(()))

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        self.get_buffer("calls").add_(1)
        return super().synthesize(latents, noise=noise)


class TwoMinds(ExampleGenerator):
    alternatives: ClassVar = {"way": ("one", "other")}
    way = "one"

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) * (1.1 if self.way == "other" else 1.0)


class WritesLatents(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        with torch.no_grad():
            latents["z"].clamp_(-0.1, 0.1)
        return super().synthesize(latents, noise=noise)


class WakesUp(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        self.train()
        return super().synthesize(latents, noise=noise)


class SinglePrecision(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        images = super().synthesize(latents, noise=noise)
        return nn.functional.conv2d(images, torch.ones(1, 1, 1, 1, device=images.device))


class LeftBehind(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) + torch.full((1, 1, 1, 12), 0.01, device="cpu")


class ClaimsAll(ExampleGenerator):
    @classmethod
    def recognises(cls, checkpoint: Any) -> bool:
        return True


class LooksForItsOwn(ExampleGenerator):
    @classmethod
    def recognises(cls, checkpoint: Any) -> bool:
        return bool(checkpoint.tensors["mine.weight"].numel())


class LacksAPart(Styled):
    def default(self, name: str) -> Tensor | None:
        return None

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        own = super().default("const")
        assert own is not None
        const = latents["const"] if "const" in latents else own.expand(len(latents), -1, -1, -1)
        return super().synthesize(latents.replace(const=const), noise=noise)


class DrawsAtWill(ExampleGenerator):
    def draw(self, n: int, *, seed: int = 0, first: int = 0) -> Tensor:
        return torch.randn(n, self.spec.prior.dim)


class DrawsByBatch(ExampleGenerator):
    def draw(self, n: int, *, seed: int = 0, first: int = 0) -> Tensor:
        return torch.randn(n, self.spec.prior.dim, generator=torch.Generator().manual_seed(seed + first))


class DrawsOnce(ExampleGenerator):
    def draw(self, n: int, *, seed: int = 0, first: int = 0) -> Tensor:
        return super().draw(n, first=first)


class DropsOut(ExampleGenerator):
    """It draws, and not from torch."""

    random = np.random.default_rng()

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        images = super().synthesize(latents, noise=noise)
        return images + 0.1 * float(self.random.random())


class ForgetsTheSeed(Styled):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise="random" if isinstance(noise, int) else noise)


class ForgetsHeldNoise(Styled):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents.only("w", "const"), noise=noise)


class SecretNoise(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        images = super().synthesize(latents, noise=noise)
        return images + 0.1 * torch.randn_like(images)


class NeverTruncates(Styled):
    def map(self, z: Tensor, **options: Any) -> Latents:
        return super().map(z, **{**options, "truncation": 1.0})


class TruncatesUnasked(ExampleGenerator):
    def sample(self, n: int, *, truncation: float = 1.0, **options: Any) -> Latents:
        latents = super().sample(n, **options)
        return latents.replace(z=latents["z"] * truncation)


class IgnoresLabels(Classes):
    def embed(self, labels: Tensor) -> Tensor:
        return super().embed(torch.zeros_like(self.label_rows(labels)))


class RowsAreWorse(Classes):
    def embed(self, labels: Tensor) -> Tensor:
        return super().embed(labels) * (0.5 if labels.ndim == 2 else 1.0)

    def map(self, z: Tensor, *, labels: Tensor | None = None, **options: Any) -> Latents:
        assert labels is not None
        return Latents(self.spec.layout, {"z": z, "c": self.embed(labels)})


class WrapsClasses(Classes):
    def label_rows(self, labels: Tensor) -> Tensor:
        return super().label_rows(labels % self.spec.classes if labels.ndim == 1 else labels)


class LooksUpClasses(Classes):
    def label_rows(self, labels: Tensor) -> Tensor:
        return torch.eye(self.spec.classes)[labels].to(self.dtype) if labels.ndim == 1 else labels.to(self.dtype)


class KnowsItsTensors(ExampleGenerator):
    """Its images depend on which tensor it is that holds the latents."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.seen: dict[int, float] = {}
        self.kept: list[Tensor] = []

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        z = latents["z"]
        self.kept.append(z)
        return super().synthesize(latents, noise=noise) + self.seen.setdefault(id(z), 0.1 * len(self.seen))


class CutOff(ExampleGenerator):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise).detach()


class IgnoresItsMap(Styled):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        own = self.default("const")
        assert own is not None
        return super().synthesize(latents.replace(const=own.expand(len(latents), -1, -1, -1)), noise=noise)


class IgnoresALayer(Styled):
    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        w = latents["w"].clone()
        w[:, 3] = 0
        return super().synthesize(latents.replace(w=w), noise=noise)


class CentersOnTwo(ExampleGenerator):
    def center(self, *, labels: Tensor | None = None) -> Latents:
        return self.sample(2)


class CenterWithGradient(Styled):
    def freeze(self) -> Any:
        return self.eval()

    def center(self, *, labels: Tensor | None = None) -> Latents:
        return self.complete(self.sample(1))


class EmbedsTooWide(Classes):
    """Its embedding of rows, which an encoder takes over, is not of the condition's length."""

    def embed(self, labels: Tensor) -> Tensor:
        made = super().embed(labels)
        return made if labels.ndim == 1 else torch.cat([made, made], 1)


class LeadsAstray(ExampleGenerator):
    """The gradient of its images points the wrong way."""

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        images = super().synthesize(latents, noise=noise)
        return 2 * images.detach() - images


class KeepsATensorToItself(ExampleGenerator):
    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.shift = float(torch.rand(()))

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return super().synthesize(latents, noise=noise) + self.shift


class WithCondition(Generator):
    """Its spec has a condition, which map leaves out."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or conditional_spec())
        self.inner = ExampleGenerator(self.spec)

    def map(self, z: Tensor, **options: Any) -> Latents:
        return Latents(self.spec.layout, {"z": z})

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        part = next(part for part in self.spec.layout if isinstance(part, Condition))
        return self.inner.synthesize(latents.replace(c=torch.zeros(len(latents), part.dim)), noise=noise)


BROKEN_GENERATORS: list[tuple[type, str]] = [
    (TakesNoSpec, "builds-from-its-spec"),
    (OtherSpec, "builds-from-its-spec"),
    (BuiltFrozen, "builds-from-its-spec"),
    (NoGenerator, "builds-from-its-spec"),
    (TuplesInOptions, "spec-comes-back-from-json-and-yaml"),
    (Smaller, "images-have-the-shape-of-the-spec"),
    (NotANumber, "images-have-the-shape-of-the-spec"),
    (FromMinusOne, "images-keep-to-the-value-range"),
    (FromZero, "images-keep-to-the-value-range"),
    (FarAway, "images-keep-to-the-value-range"),
    (WeighsTheBatch, "one-image-as-in-a-batch"),
    (Squeezes, "one-image-as-in-a-batch"),
    (Counts, "calls-change-nothing"),
    (WritesLatents, "calls-change-nothing"),
    (WakesUp, "calls-change-nothing"),
    (SinglePrecision, "dtype-follows-the-weights"),
    (LeftBehind, "device-follows-the-weights"),
    (TwoMinds, "alternatives-are-the-same"),
    (ClaimsAll, "claims-no-foreign-file"),
    (LooksForItsOwn, "claims-no-foreign-file"),
    (LacksAPart, "latents-fit-the-layout"),
    (WithCondition, "latents-fit-the-layout"),
    (DrawsAtWill, "same-seed-gives-the-same-samples"),
    (DrawsByBatch, "same-seed-gives-the-same-samples"),
    (DrawsOnce, "same-seed-gives-the-same-samples"),
    (DropsOut, "same-latents-give-the-same-pixels"),
    (ForgetsTheSeed, "noise-is-taken-as-asked"),
    (ForgetsHeldNoise, "noise-is-taken-as-asked"),
    (SecretNoise, "noise-is-taken-as-asked"),
    (NeverTruncates, "truncation-acts-as-the-spec-says"),
    (TruncatesUnasked, "truncation-acts-as-the-spec-says"),
    (IgnoresLabels, "labels-are-integers-or-rows"),
    (RowsAreWorse, "labels-are-integers-or-rows"),
    (WrapsClasses, "unknown-classes-are-refused"),
    (LooksUpClasses, "unknown-classes-are-refused"),
    (KnowsItsTensors, "latents-come-back-from-disk"),
    (CutOff, "gradients-reach-every-part"),
    (IgnoresItsMap, "gradients-reach-every-part"),
    (IgnoresALayer, "gradients-reach-every-part"),
    (CentersOnTwo, "center-is-the-mean-image"),
    (CenterWithGradient, "center-is-the-mean-image"),
    (EmbedsTooWide, "its-encoder-mirrors-it"),
    (LeadsAstray, "its-encoder-learns"),
    (KeepsATensorToItself, "saved-and-loaded-gives-the-same-pixels"),
]
"""A class, and the check that has to name its fault."""
