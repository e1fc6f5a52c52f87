"""One door to a model: what a user holds, and what comes of inverting photos with it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context
from ganenc_registry.errors import LatentsError, SpecError, WeightsMissingError
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor

from ganenc import editing
from ganenc.editing import FRAMES, Direction, Edited
from ganenc.encoders import Encoder, check_fits
from ganenc.files import check_device
from ganenc.generators import Generator
from ganenc.images import Fit
from ganenc.inversion import (
    Aligner,
    Judge,
    OnStep,
    Photo,
    PhotoSource,
    build_aligner,
    default_method,
    given_labels,
    invert,
    must_find,
    read_photo,
)
from ganenc.latents import Latents
from ganenc.measures import (
    HELD_OUT,
    Metric,
    Scores,
    build_metrics,
    default_metrics,
    score,
    split_folds,
)
from ganenc.models import ENCODER, load_encoder, load_generator, model_hash, resolve, save_pretrained
from ganenc.objectives import DEFAULT_BACKBONE, NO_BACKBONE, Backbone, Objective, build_objective, load_backbone
from ganenc.report import Inverted

__all__ = ["NO_BACKBONE", "Generated", "Model", "load"]

GENTLY = Choice(name="optimize", options={"steps": 100, "rate": 0.05})
"""How photos are inverted to be edited where there is an encoder: close, and edits still take
(benchmarks/results/editing.md)."""

Named: TypeAlias = str | Choice | Mapping[str, Any]
"""A registered component: its name, or its name and options."""
Photos: TypeAlias = "PhotoSource | Photo | Sequence[PhotoSource | Photo]"
"""One photo, or several; a tensor (N, C, H, W) holds N."""


class Generated(NamedTuple):
    """Images that a generator drew."""

    latents: Latents
    """That make them again."""
    images: Tensor
    """(N, C, H, W) in the generator's range."""


class Model:
    """A generator with its encoder and backbone, and what is known of them.

    Args:
        generator: frozen here.
        encoder: its encoder, if there is one.
        source: what it was loaded from.
        backbone: the network behind LPIPS that the user chose, ``none`` for none; by default the model's own.
        info: what the model's config says of it, its own ``backbone`` among that.

    Raises:
        SpecError: if the encoder is another generator's.
        UnknownNameError: if there is no such backbone.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder | None = None,
        *,
        source: str = "",
        backbone: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        if encoder is not None:
            check_fits(encoder.spec, generator.spec)
        self.generator, self.encoder, self.source = generator.freeze(), encoder, source
        self.info = dict(info or {})
        self.own_backbone = str(self.info["backbone"]) if "backbone" in self.info else None
        self.chosen_backbone = backbone
        self.backbone = backbone or self.own_backbone or DEFAULT_BACKBONE
        """The name of the network behind LPIPS; ``none`` for none."""
        if self.backbone != NO_BACKBONE:
            registry().get("backbone", self.backbone)
        self._aligners: dict[str, Aligner] = {}
        self._judges: dict[int, Judge] = {}

    def __repr__(self) -> str:
        spec = self.generator.spec
        encoder = "with its encoder" if self.encoder else "without encoder"
        return f"Model({self.source!r}: {spec.family}, {spec.size[0]}x{spec.size[1]}, {encoder}, {self.backbone})"

    @cached_property
    def hash(self) -> str:
        """The hash of the generator's weights."""
        return model_hash(self.generator)

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        return self.generator.spec.licence

    @cached_property
    def mean_image(self) -> Tensor:
        """The generator's image of its mean latents, (1, C, H, W)."""
        with torch.no_grad():
            return self.generator.synthesize(self.generator.center())

    def read(
        self,
        photo: PhotoSource | Photo,
        *,
        fit: Fit = "cover",
        align: Named | None = None,
        labels: Tensor | None = None,
        attention: Any = None,
    ) -> Photo:
        """A photo as this generator takes it, decoded once.

        Args:
            photo: a file, its bytes, a Pillow image, an array, or a tensor (C, H, W) in the generator's range.
            fit: ``cover``, ``contain`` or ``stretch``, where it is not aligned.
            align: a registered aligner; ``none`` or None leaves it at the fit.
            labels: the photo's class (1,) or (1, classes), where it is known.
            attention: for aligners that look where one looks.

        Raises:
            ImageError: if it cannot be read, or has nothing that the aligner looks for.
        """
        if isinstance(photo, Photo):
            return photo
        aligner = self.aligner(align, attention)
        return read_photo(photo, self.generator.spec, fit=fit, aligner=aligner, labels=labels)

    def aligner(self, align: Named | None, attention: Any = None) -> Aligner | None:
        """A registered aligner with its options, built once; None for ``none``.

        Raises:
            UnknownNameError: if there is none of that name.
            SpecError: if it has no such option.
        """
        if align is None or align == "none":
            return None
        choice = _choice(align)
        key = json.dumps([choice.to_mapping(), id(attention)])
        if key not in self._aligners:
            shared = {"attention": attention, "value_range": self.generator.spec.value_range}
            self._aligners[key] = build_aligner(choice.name, **shared, **choice.options)
        return self._aligners[key]

    def other_aligners(self, objective: Objective | None) -> dict[str, Aligner]:
        """The alignments that are tried on photos that come back badly."""
        looking = None if objective is None else objective.attention
        names = ["center"] if looking is None else ["center", "attention"]
        return {name: found for name in names if (found := self.aligner(name, looking)) is not None}

    def labels(self, given: Any, count: int) -> Tensor | None:
        """Labels, one for each of ``count`` photos or one for all, as int64 (count,) or rows (count, classes).

        Raises:
            LatentsError: if the generator has no classes, or they do not fit.
        """
        return None if given is None else given_labels(given, count, self.generator)

    def objective(self, spec: ObjectiveSpec | Mapping[str, Any] | None = None) -> Objective:
        """The paper's objective on this model's backbone, or the one that a spec describes.

        Without a backbone, or where its weights cannot be had and it was not chosen, LPIPS is left out.

        Raises:
            SpecError: if the spec is wrong.
            WeightsMissingError: if a backbone was chosen whose weights cannot be had.
        """
        if not isinstance(spec, ObjectiveSpec):
            spec = ObjectiveSpec.from_mapping(spec or {}, where="the objective")
        if spec.backbone is None and self.chosen_backbone not in (None, NO_BACKBONE):
            spec = spec.model_copy(update={"backbone": Choice(name=self.chosen_backbone)})
        return build_objective(spec, self.generator, own_backbone=self.backbone)

    def metric_backbone(self) -> Backbone | None:
        """The backbone for metrics; None where there is none, or it was not chosen and its weights cannot be had.

        Raises:
            WeightsMissingError: if it was chosen and its weights cannot be had.
        """
        if self.backbone == NO_BACKBONE:
            return None
        try:
            return load_backbone(self.backbone, device=self.generator.device)
        except WeightsMissingError as error:
            if self.chosen_backbone is not None:
                raise
            warnings.warn(f"LPIPS is left out: {error}", stacklevel=2)
            return None

    def metrics(self, choices: Iterable[str] | Mapping[str, Any] = ("psnr", "ssim", "lpips")) -> dict[str, Metric]:
        """Metrics for this generator's images, on this model's backbone: see `ganenc.measures.build_metrics`.

        Raises:
            WeightsMissingError: if one needs the backbone, that was chosen, and its weights cannot be had.
        """
        spec, device = self.generator.spec, str(self.generator.device)
        named = choices if isinstance(choices, Mapping) else dict.fromkeys(choices)
        some_need_it = len(build_metrics(named)) < len(named)
        backbone = self.metric_backbone() if some_need_it else None
        load = None if backbone is None else lambda: backbone
        context = Context(generator=spec, value_range=spec.value_range, device=device, load_backbone=load)
        return build_metrics(named, context)

    def generate(
        self, n: int = 1, *, seed: int = 0, labels: Any = None, truncation: float = 1.0, first: int = 0
    ) -> Generated:
        """Draw images, one by one, so that their latents make the same pixels one by one again.

        Args:
            n: how many.
            seed: the stream of draws.
            labels: classes, one each or one for all, where the generator has some.
            truncation: below 1 for images nearer to the mean.
            first: the place in the stream to begin at.

        Raises:
            SpecError: if the generator has no truncation.
            LatentsError: if the labels do not fit.
        """
        if truncation != 1.0 and self.generator.spec.truncation == "none":
            raise SpecError(f"{self.source or self.generator.spec.family} has no truncation; leave it out.")
        given = self.labels(labels, n)
        drawn = []
        for place in range(n):
            label = None if given is None else given[place : place + 1]
            one = self.generator.sample(1, seed=seed, first=first + place, labels=label, truncation=truncation)
            drawn.append(self.generator.complete(one))
        with torch.no_grad():
            made = torch.cat([self.generator.synthesize(one) for one in drawn])
        return Generated(Latents.cat(drawn), made)

    def invert(
        self,
        photos: Photos,
        method: Named | None = None,
        *,
        labels: Any = None,
        candidates: Sequence[int] | Tensor | None = None,
        objective: Objective | ObjectiveSpec | Mapping[str, Any] | None = None,
        align: Named | None = None,
        fit: Fit = "cover",
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inverted:
        """Photos => latents that rebuild them.

        Args:
            photos: one, or several; what `read` takes, or what it gave.
            method: a registered inverter, or it and its options; by default the best there is.
            labels: classes, one each or one for all; or ``predicted`` or ``searched``. See `ganenc.inversion.invert`.
            candidates: the classes among which to search.
            objective: what "close" means; by default the paper's.
            align: see `read`.
            fit: see `read`.
            seed: of whatever the method draws.
            on_step: called now and then with the terms of the objective.

        Raises:
            GanencError: if a photo cannot be read, the method cannot do it, or the labels do not fit.
        """
        many = _several(photos)
        given = labels if labels is None or isinstance(labels, str) else self.labels(labels, len(many))
        choice = _choice(method or default_method(self.encoder is not None))
        needed = choice.name != "encode" or must_find(self.generator, self.encoder, given, candidates)
        if not isinstance(objective, Objective):
            built = self.objective(objective) if needed else None
        else:
            built = objective
        looking = None if built is None else built.attention
        read = [
            self.read(one, fit=fit, align=align, labels=_one(given, place), attention=looking)
            for place, one in enumerate(many)
        ]
        targets = torch.stack([one.target for one in read]).to(self.generator.device, self.generator.dtype)
        done = invert(
            targets, self.generator, self.encoder, method=choice.name, labels=given, candidates=candidates,
            objective=built, seed=seed, on_step=on_step, **choice.options,
        )  # fmt: skip
        settings = {**done.settings, "seed": seed, "fit": fit}
        if align is not None:
            settings["align"] = _choice(align).name
        done = replace(done, settings=settings)
        return Inverted(**vars(done), photos=tuple(read), model=self, method=choice.name, seed=seed, objective=built)

    def encode(self, photos: Photos, *, labels: Any = None) -> Latents:
        """One pass of the encoder: the latents of photos, complete.

        Raises:
            SpecError: if there is no encoder.
        """
        return self.invert(photos, "encode", labels=labels).latents

    def direction(self, word: str | Path | Direction, *, space: str | None = None) -> Direction:
        """A direction from a file, by its name among those that lie with the model, or a boundary (``.npy``).

        Raises:
            GanencError: if there is none, or it is another model's.
        """
        if isinstance(word, Direction):
            return word
        if Path(word).suffix == ".npy":
            return editing.read_boundary(word, self.generator, space=space)
        if space is not None:
            raise SpecError(f"A space is for boundaries (.npy); {word} knows its own, so leave it out.")
        return editing.load_direction(word, self.source, model=self.hash)

    def edit(
        self,
        start: Latents | Inverted | Photos,
        direction: str | Path | Direction,
        strengths: Sequence[float] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
        *,
        layers: Sequence[int] | None = None,
    ) -> Edited:
        """Move one sample along a direction.

        Args:
            start: latents of one sample, an inversion of one photo, or a photo, which is inverted first.
            direction: see `direction`.
            strengths: how far, in deviations of the model's own latents, step by step.
            layers: of styles; by default those of the direction.

        Raises:
            LatentsError: if there are several samples, or they do not fit the direction.
        """
        way = self.direction(direction)
        latents, target = self._start(start)
        fine = torch.linspace(min(strengths), max(strengths), FRAMES)
        edited, frames = (way.apply(latents.expand(len(s)), s, layers=layers) for s in (strengths, fine))
        facts = {
            "direction": way.name,
            "space": way.space,
            "strengths": [round(float(one), 4) for one in strengths],
            "layers": list(layers or way.layers or []) or None,
            "position": float(way.position(latents)),
            "model": self.source,
            "model_hash": self.hash,
        }
        return Edited(self.generator, edited, facts, self.hash, frames=frames, target=target)

    def evaluate(
        self,
        photos: Photos | None = None,
        *,
        samples: int | None = None,
        method: Named = "encode",
        metrics: Sequence[str] | None = None,
        folds: int | None = None,
        labels: Any = None,
        seed: int = 0,
    ) -> Scores:
        """How well photos, or images that the generator makes, are rebuilt.

        Args:
            photos: see `invert`.
            samples: or so many synthesized images, drawn where no training draws.
            method: a registered inverter.
            metrics: registered ones; by default those of the paper's tables.
            folds: split the images at random into so many, see `ganenc.measures.split_folds`.
            labels: see `invert`.
            seed: of what is drawn.

        Raises:
            SpecError: if there are neither photos nor samples, or both.
        """
        if (photos is None) == (samples is None):
            raise SpecError("Give photos, or the number of samples to synthesize; one of the two.")
        if samples is not None:
            classes = self.generator.draw_labels(samples, seed=seed, first=HELD_OUT) if labels is None else labels
            photos, labels = self.generate(samples, seed=seed, labels=classes, first=HELD_OUT).images, classes
        done = self.invert(photos, method, labels=labels, seed=seed)  # type: ignore[arg-type]
        taken = self.metrics(metrics or default_metrics())
        taken = {name: one for name, one in taken.items() if metrics or one.least <= len(done)}
        least = max(one.least for one in taken.values())
        parts = None if folds is None else split_folds(len(done), folds, seed=seed, least=least)
        return score(done.targets, done.reconstructions, taken, folds=parts)

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write a model folder, the encoder inside it; `load` takes it."""
        save_pretrained(self.generator, folder, info=self.info, half=half)
        if self.encoder is not None:
            save_pretrained(self.encoder, Path(folder) / ENCODER, info={"generator": self.hash}, half=half)

    def judge(self, seed: int = 0) -> Judge | None:
        """What tells whether a photo is like what the generator makes; None where there is no encoder."""
        if self.encoder is None:
            return None
        if seed not in self._judges:
            self._judges[seed] = Judge(self.generator, self.encoder, self.mean_image, seed=seed)
        return self._judges[seed]

    def _start(self, start: Any) -> tuple[Latents, Tensor | None]:
        """The latents of one sample, and the photo (1, C, H, W) that they come from, where there is one."""
        if not isinstance(start, Latents | Inverted):
            start = self.invert(start, GENTLY if self.encoder is not None else None)
        latents = start if isinstance(start, Latents) else start.latents
        if len(latents) != 1:
            raise LatentsError(f"One sample is edited at a time; these are {len(latents)}. Pick one by its number.")
        return self.generator.complete(latents), None if isinstance(start, Latents) else start.targets.cpu()


def load(
    source: str | Path,
    *,
    device: str = "cpu",
    encoder: str | Path | None = None,
    backbone: str | None = None,
) -> Model:
    """Load a model: a generator, its encoder where it has one, and what is known of them.

    Args:
        source: an installed model, a model folder, a checkpoint of any known GAN, ``user/name`` on the Hub, or what a
            script registered.
        device: where to.
        encoder: the folder of an encoder or of a run; by default the one inside the model.
        backbone: a registered backbone behind LPIPS, or ``none``; by default the model's own.

    Raises:
        GanencError: if something is not there or does not fit.
    """
    device = check_device(device)
    generator = load_generator(source, device=device)
    named = resolve(source)
    place = encoder or named.encoder
    found = None if place is None else load_encoder(place, device=device)
    model = Model(generator, found, source=str(source), backbone=backbone, info=named.info)
    if place is not None:
        _check_origin(place, model)
    return model


def _check_origin(place: str | Path, model: Model) -> None:
    """Warn where an encoder was trained for other weights of the same shape."""
    folder = resolve(place).encoder
    origin = "" if folder is None else resolve(folder).info.get("generator", "")
    if isinstance(origin, str) and len(origin) == len(model.hash) and origin != model.hash:
        trained = f"the encoder {place} was trained for the weights {origin[:12]}"
        warnings.warn(f"{trained}; {model.source} has {model.hash[:12]}.", stacklevel=3)


def _choice(named: Named) -> Choice:
    return named if isinstance(named, Choice) else Choice.model_validate(named)


def _several(photos: Photos) -> list[PhotoSource | Photo]:
    """Photos as a list."""
    if isinstance(photos, Tensor):
        return [*photos] if photos.ndim == 4 else [photos]
    if isinstance(photos, list | tuple):
        return [*photos]
    return [photos]  # type: ignore[list-item]


def _one(labels: Tensor | str | None, place: int) -> Tensor | None:
    return labels[place : place + 1] if isinstance(labels, Tensor) else None
