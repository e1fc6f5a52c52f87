"""One door to a model: what a user holds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from ganenc_registry.components import build
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor

from ganenc.editing import (
    STRENGTHS,
    Classifier,
    Direction,
    Dragged,
    DragStep,
    Edited,
    Explained,
    Finder,
    Mask,
    Search,
    drag,
    drag_points,
    edit_along,
    edit_between,
    edit_by_mixing,
    explain,
    load_direction,
    read_directions,
)
from ganenc.files import as_count, import_function
from ganenc.foreign import FILES, are_latents, read_latents
from ganenc.generators import LabelsGiven, Tuning
from ganenc.images import Fit
from ganenc.inversion import (
    MIXABLE,
    Inverter,
    Method,
    OnStep,
    Operators,
    Parts,
    Photo,
    PhotoFolder,
    Purpose,
    Readable,
    another_answer,
    invert,
    plan,
    purpose_of,
    rebuild,
)
from ganenc.latents import Latents
from ganenc.measures import (
    CHUNK,
    FALSE_ALARMS,
    HELD_OUT,
    KAPPA,
    Calibration,
    Comparer,
    Differences,
    Editability,
    Evaluation,
    Features,
    Metric,
    Samples,
    classify,
    consistency,
    default_metrics,
    evaluate,
    measure_edits,
    split_folds,
)
from ganenc.models import ENCODER, encoder_of, load_encoder, load_generator, model_hash, resolve, save_pretrained
from ganenc.objectives import Backbone, Objective, load_backbone
from ganenc.report import Inverted, Scored

E = TypeVar("E", bound=Edited)
Towards: TypeAlias = Objective | ObjectiveSpec | Mapping[str, Any]
"""An objective, or its spec."""
Photos: TypeAlias = "Readable | Photo | Sequence[Readable | Photo]"
"""One photo, or several; a tensor (N, C, H, W) holds N."""
Start: TypeAlias = "Latents | Inverted | Readable | Photo"
"""One sample to edit: its latents or their file, its inversion or the folder that one left, or a photo."""


class Generated(NamedTuple):
    """Images that a generator drew."""

    latents: Latents
    """That make them again."""
    images: Tensor
    """(N, C, H, W) in the generator's range."""

    def __repr__(self) -> str:
        return f"Generated({self.latents!r}, images of {tuple(self.images.shape)})"


class Model(Parts):
    """A generator with its encoder and backbone, and all that is done with them; `Parts` has the arguments."""

    def generate(
        self, n: int = 1, *, seed: int = 0, labels: LabelsGiven | None = None, truncation: float = 1.0, first: int = 0
    ) -> Generated:
        """Draw ``n`` images, one by one, from the place ``first`` in the stream ``seed``, so that their latents make
        the same pixels one by one again.

        ``labels`` are classes, one each or one for all, by default drawn (`LatentsError` if they do not fit); a
        ``truncation`` below 1 is for images nearer to the mean (`SpecError` if there is none, or it is not finite).
        """
        n, first = as_count(n, "n", 1), as_count(first, "first")
        given = self.labels(labels, n)
        drawn, made = [], []
        with torch.no_grad():
            for place in range(n):
                label = None if given is None else given[place : place + 1]
                one = self.generator.sample(1, seed=seed, first=first + place, labels=label, truncation=truncation)
                drawn.append(self.generator.complete(one))
                made.append(self.generator.synthesize(drawn[-1]))
        return Generated(Latents.cat(drawn), torch.cat(made))

    def invert(
        self,
        photos: Photos,
        method: Method | Inverter | None = None,
        *,
        labels: LabelsGiven | str | None = None,
        candidates: Sequence[int] | Tensor | None = None,
        objective: Towards | None = None,
        operator: Operators | None = None,
        align: Method | None = None,
        fit: Fit = "cover",
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inverted:
        """Photos, one or several, as `read` takes or gives them => latents that rebuild them; ``model.invert(photos,
        **inverted.settings)`` does it again.

        ``method`` is a registered inverter, or it and its options, by default the best there is; ``labels``,
        ``candidates`` and ``on_step`` are as in `ganenc.inversion.invert`, ``align`` and ``fit`` as in `read`;
        ``objective`` is what "close" means, by default the paper's. Through an ``operator`` photos are what was seen,
        see `restore`. `GanencError` if a photo cannot be read, the method
        cannot do it, or the labels do not fit.
        """
        many = several(photos)
        given = labels if labels is None or isinstance(labels, str) else self.labels(labels, len(many))
        method = method or self.default_method(purpose_of(operator))
        inverter, spec = self.inverter(method), _spec_of(objective)
        if not isinstance(objective, Objective):
            objective = self.objective(spec) if self.needs_objective(inverter, given, candidates) else None
        looking = None if spec is None else spec.attention
        known = given.split(1) if isinstance(given, Tensor) else [None] * len(many)
        read = [
            self.read(one, fit=fit, align=align, labels=label, attention=looking, operator=operator)
            for one, label in zip(many, known, strict=True)
        ]
        targets = torch.stack([one.target for one in read]).to(self.generator.device, self.generator.dtype)
        done = invert(
            targets, self.generator, self.encoder, method, labels=given, candidates=candidates, objective=objective,
            operator=operator, photos=read, seed=seed, on_step=on_step,
        )  # fmt: skip
        done = replace(done, settings={**done.settings, **read[0].read_with})
        compared = objective if inverter.needs_objective else None
        return Inverted(**vars(done), photos=tuple(read), model=self, objective=compared, one_pass=inverter.one_pass)

    def restore(
        self, photos: Photos, operator: Operators, n: int = 1, *, seed: int = 0, **given: Any
    ) -> list[Inverted]:
        """Photos as they may have been before something happened to them => ``n`` answers, each for all photos, from as
        many seeds.

        ``operator`` is what happened, as it is written (``mask:hole.png``, ``blur:sigma=?|downscale:4``), or its name
        and options, or several: registered operators, the first of which came first. A photo is what was seen, of the
        size that the operator gives images of the generator's. ``given`` is as in `invert`, whose errors it has.
        """
        first = given.pop("method", None)
        mapping = None if first is None or isinstance(first, Inverter) else Choice.of(first).to_mapping()
        other = first if isinstance(first, Inverter) else another_answer(mapping)
        return [
            self.invert(photos, other if place else first, operator=operator, seed=seed + place, **given)
            for place in range(as_count(n, "n", 1))
        ]

    def plan(
        self,
        purpose: Purpose = "both",
        *,
        seconds: float | None = None,
        method: Method | None = None,
        objective: Towards | None = None,
    ) -> Choice:
        """The method that `invert` takes by default, to ``rebuild`` photos, to ``edit`` them, or for both; with
        ``seconds``, it (or a ``method`` that is given) with as many steps as fill them for each photo on this machine,
        by the time that some take. SpecError if it takes no steps."""
        if seconds is not None and not isinstance(objective, Objective):
            objective = self.objective(_spec_of(objective))
        known = objective if isinstance(objective, Objective) else None
        return plan(self.generator, self.encoder, method, purpose=purpose, seconds=seconds, objective=known)

    def encode(self, photos: Photos, *, labels: LabelsGiven | str | None = None) -> Latents:
        """One pass of the encoder: the latents of photos, complete; `SpecError` if there is no encoder."""
        return self.invert(photos, "encode", labels=labels).latents

    def latents_file(self, path: str | Path) -> Path | None:
        """The file of latents that a path names: ours, another tool's (an array that fits the layout), or that in the
        folder that it names; None for anything else, such as a photo."""
        file = PhotoFolder.latents_file(path)
        spec = self.generator.spec
        image = (spec.channels, *spec.size)
        return file if file is not None and are_latents(file, spec.layout, image=image) else None

    def latents(self, path: str | Path, *, space: str | None = None) -> Latents:
        """Latents from a file of ours, or from another tool's (see `ganenc.foreign.read_latents`), which is taken on
        trust to be of this model; draws of the prior of a generator with styles are mapped. `LatentsError` if it cannot
        be read, is another model's or does not fit. Of latents that go with tuned weights, `tuning` finds these."""
        layout, device = self.generator.spec.layout, self.generator.device
        if Path(path).suffix.lower() not in FILES:
            found = Latents.load(path, model=self.hash, device=device)
            if "tuning" in found.info:
                self._tuned[str(found.info["tuning"])] = PhotoFolder(Path(path).parent)
        else:
            found = read_latents(path, layout, space=space).to(device)
            found.model = self.hash
            if found.layout != layout:
                found = self.generator.map(found["z"].to(self.generator.dtype))
        if found.layout != layout:
            raise LatentsError(f"The latents {path} have another layout than the generator takes; they are another's.")
        return found

    def tuning(self, latents: Latents) -> Tuning:
        """What `Generator.tuned` takes for latents that `latents` read; empty where they go with the weights as they
        are. `GanencError` if it does not lie beside them, or is another's."""
        known = str(latents.info.get("tuning", ""))
        if known and known not in self._tuned:
            raise LatentsError(
                "These latents go with tuned weights, of which they hold none; give the inversion that they are of, or"
                " the folder that it left."
            )
        return self._tuned[known].tuning(latents, model=self.hash) if known else {}

    def directions(self, word: str | Path, *, space: str | None = None) -> list[Direction]:
        """The directions in a file: one of ours, or another tool's; see `direction`."""
        file, number = re.fullmatch(r"(.*?)(?::(\d+))?", str(word), re.DOTALL).groups()  # type: ignore[union-attr]
        if Path(file).suffix.lower() in FILES:
            places = None if number is None else [int(number)]
            return read_directions(file, self.generator, space=space, places=places)
        if space is not None:
            raise SpecError(f"A space is for files of other tools; {word} knows its own, so leave it out.")
        return [load_direction(word, self.source, model=self.hash)]

    def direction(self, word: str | Path | Direction, *, space: str | None = None) -> Direction:
        """A direction from a file, by its name among the model's, or from another tool's file, of several by number, as
        in ``components.npz:3``; `GanencError` if there is none, or it is another model's."""
        if isinstance(word, Direction):
            return word
        found = self.directions(word, space=space)
        if len(found) > 1:
            raise SpecError(f"{word} holds {len(found)} directions; pick one by its number, as in {word}:0.")
        return found[0]

    def find_directions(
        self,
        method: Method | Finder,
        n: int = 2000,
        *,
        labels: LabelsGiven | None = None,
        seed: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Direction]:
        """Directions, found by a registered finder, it and its options, or one at hand, from ``n`` draws where it
        draws; ``labels`` are classes of the draws, one each or one for all. `GanencError` if there is no such finder,
        an option is wrong, or it needs a backbone or an encoder and there is none."""

        def backbone() -> Backbone:
            if (found := self.metric_backbone()) is None:
                raise SpecError(f"To find directions so takes a backbone, and {self.source} has none; name one.")
            return found

        n = as_count(n, "n", 1)
        if not isinstance(method, Finder):
            context = replace(self.context, load_backbone=backbone)
            method = build("finder", Choice.of(method, at="method"), Finder, context, at="method")
        encoder = None if self.encoder is None else self.encoder.eval()
        return method.find(Search(self.generator, encoder, n, self.labels(labels, n), seed, on_step))

    def edit(
        self,
        start: Start,
        direction: str | Path | Direction,
        strengths: Sequence[float] = STRENGTHS,
        *,
        layers: Sequence[int] | None = None,
    ) -> Edited:
        """Move one sample along a direction: latents, an inversion, or a photo, which is inverted so that edits take.

        ``strengths`` are how far, in deviations of the model's own latents, step by step; ``layers`` are of styles, by
        default those of the direction. `LatentsError` if there are several samples, or they do not fit the direction.
        """
        latents, tuning, target = self._start(start)
        way = self.direction(direction)
        return self._told(edit_along(self.generator, latents, way, strengths, layers=layers, target=target), tuning)

    def drag(
        self,
        start: Start,
        points: Any,
        targets: Any,
        mask: Mask | None = None,
        *,
        on_step: Callable[[DragStep], object] | None = None,
        **options: Any,
    ) -> Dragged:
        """Move points of one sample to targets, in pixels of the generator's images, and hold what is black in a mask:
        latents, an inversion, or a photo, which is inverted so that edits take. Its arguments, options and errors are
        those of `ganenc.editing.drag`; ``model.drag(start, **dragged.settings)`` does it again."""
        wanted = drag_points(points, targets, mask, self.generator.spec.size)
        latents, tuning, target = self._start(start)
        with self.generator.tuned(tuning):
            dragged = drag(self.generator, latents, *wanted, on_step=on_step, **options)
        return self._told(replace(dragged, target=target), tuning)

    def explain(
        self,
        start: Start,
        classifier: Classifier,
        target: int,
        *,
        directions: Sequence[str | Path | Direction] = (),
        on_step: Callable[[int, int], object] | None = None,
        **options: Any,
    ) -> Explained:
        """The smallest change of one sample (latents, an inversion, or a photo, which is inverted so that edits take)
        with which a classifier says the class ``target``. Its arguments, options and errors are those of
        `ganenc.editing.explain`; ``directions`` are as `direction` takes them."""
        ways = [self.direction(one) for one in directions]
        latents, tuning, photo = self._start(start)
        with self.generator.tuned(tuning):
            found = explain(self.generator, latents, classifier, target, directions=ways, on_step=on_step, **options)
        return self._told(replace(found, target=photo), tuning)

    def mix(self, first: Start, second: Start, layers: Sequence[int]) -> Edited:
        """Give one sample the styles of another on some layers: low ones hold shape and pose, high ones colour;
        `LatentsError` if there are several samples, no such layers of styles, or weights were tuned differently."""
        (a, tuning, _), (b, *_) = (self._start(one, mixed=True) for one in (first, second))
        return self._told(edit_by_mixing(self.generator, a, b, layers), tuning)

    def interpolate(self, first: Start, second: Start, steps: int = 9) -> Edited:
        """Go from one sample to another, both ends among the steps; `LatentsError` if there are several samples, or
        fewer than two steps, or their weights were tuned differently."""
        (a, tuning, _), (b, *_) = (self._start(one, mixed=True) for one in (first, second))
        return self._told(edit_between(self.generator, a, b, steps), tuning)

    def editability(
        self,
        photos: Photos,
        direction: str | Path | Direction,
        strengths: Sequence[float] = STRENGTHS,
        *,
        label: int | None = None,
        method: Method | Inverter = "encode",
        metrics: Iterable[str] | Mapping[str, Any] = ("lpips", "identity", "frechet"),
        region: Callable[[Tensor], Tensor] | None = None,
        labels: LabelsGiven | str | None = None,
        objective: Towards | None = None,
        seed: int = 0,
    ) -> Editability:
        """How well photos, inverted by a method, can be edited along a direction: see `ganenc.measures.Editability`.

        ``label`` is the class of the backbone's that the direction leads to: then its logit is followed, and metrics of
        sets compare the photos that the backbone takes for this class with the others, moved the farthest. Metrics of
        pairs compare each photo edited with itself unedited, inside and outside a ``region`` (see
        `ganenc.measures.measure_edits`). `SpecError` if the backbone knows no such class, else as `invert`.
        """
        way, taken, backbone = self.direction(direction), self.metrics(metrics), None
        if label is not None and ((backbone := self.metric_backbone()) is None or not 0 <= label < backbone.classes):
            raise SpecError(f"The backbone {self.backbone} knows no class {label}; name one that does.")

        def inverted(some: Photos, classes: LabelsGiven | str | None) -> tuple[Inverted, Samples]:
            done = self.invert(some, method, labels=classes, objective=objective, seed=seed)
            alone = any(done.tuning)
            return done, [done.sample(at) for at in range(len(done))] if alone else [(done.latents.detach(), {})]

        done, samples = inverted(photos, labels)
        edits = measure_edits(
            self.generator, samples, way.apply, strengths, backbone=backbone, metrics=taken, region=region
        )
        moved = edits.images[edits.farthest]
        own, found = self.own_latents(seed), {}
        apart = {"mahalanobis": own.mahalanobis(done.latents), "nscd": own.style_distance(done.latents)}
        if backbone is not None:
            targets = done.targets.cpu()
            of_it = classify(self.generator, backbone, targets).argmax(1) == label
            sets = (targets[of_it], moved[~of_it])
            found = {
                name: float(one(*sets))  # type: ignore[arg-type]
                for name, one in taken.items() if one.compares_sets and min(map(len, sets)) >= one.least
            }  # fmt: skip
        back = consistency(
            self.generator, samples, moved, way.apply, edits.strengths[edits.farthest],
            lambda images: inverted(images, done.labels)[1],
        )  # fmt: skip
        return Editability(edits, label, back, {name: row for name, row in apart.items() if row is not None}, found)

    def evaluate(
        self,
        photos: Photos | None = None,
        *,
        samples: int | None = None,
        method: Method | Inverter = "encode",
        metrics: Iterable[str] | Mapping[str, Any] | None = None,
        folds: int | None = None,
        labels: LabelsGiven | None = None,
        find: str | None = None,
        candidates: Sequence[int] | Tensor | None = None,
        objective: Towards | None = None,
        truncation: float = 1.0,
        direction: str | Path | Direction | None = None,
        towards: int | None = None,
        strengths: Sequence[float] = STRENGTHS,
        seed: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """How well photos, or images of the generator (``samples``, drawn where no training draws), are rebuilt.

        ``method``, ``objective`` and ``candidates`` are as in `invert`, ``metrics`` as in
        `ganenc.measures.build_metrics` (by default those of the paper's tables), ``folds`` as in
        `ganenc.measures.split_folds`; ``truncation`` is of samples. ``labels`` are the classes that are known, one each
        or one for all, those of samples by default; ``find`` is how classes are found besides, ``predicted`` or
        ``searched``, by default the best way there is. The numbers of known and found classes are told apart.
        Where there is a ``direction``, what `editability` finds goes along, with the class ``towards`` which it leads.
        ``on_step`` is called with the images that are rebuilt, and all that are to be. `SpecError` if there are neither
        photos nor samples, or both, a metric cannot be had, or folds are too small.
        """
        if (photos is None) == (samples is None):
            raise SpecError("Give photos, or the number of samples to synthesize; one of the two.")
        if direction is None and towards is not None:
            raise SpecError("The class that a direction leads to is told without a direction; name one.")
        if samples is None and truncation != 1.0:
            raise SpecError("Truncation is of samples; leave it out for photos.")
        if samples is not None:
            if labels is None:
                labels = self.generator.draw_labels(samples, seed=seed, first=HELD_OUT)
            drawn = self.generate(samples, seed=seed, labels=labels, truncation=truncation, first=HELD_OUT)
            photos = drawn.images
        assert photos is not None
        targets = torch.stack([self.read(one).target.cpu() for one in several(photos)])
        taken = self._taken(metrics, len(targets))
        least = max(one.least for one in taken.values())
        parts = None if folds is None else split_folds(len(targets), folds, seed=seed, least=least)
        noted = self.generator.spec.truncation_settings if samples else ()
        with self.generator.using(**dict.fromkeys(noted, truncation)):
            made = rebuild(
                self, targets, self.inverter(method), labels=self.labels(labels, len(targets)), find=find,
                candidates=candidates, seed=seed, on_step=on_step,
                objective=lambda: objective if isinstance(objective, Objective) else self.objective(objective),
            )  # fmt: skip
        found = evaluate(targets, made, taken, mean_image=self.mean_image, folds=parts)
        used = {} if self.encoder is None else {"encoder": model_hash(self.encoder)}
        found = replace(found, weights={"generator": self.hash, **used})
        if direction is None:
            return found
        (_, _, classes), *_ = made.values()
        chosen: dict[str, Any] = {} if metrics is None else {"metrics": metrics}
        editing = self.editability(
            [*targets], direction, strengths, label=towards, method=method, labels=classes, objective=objective,
            seed=seed, **chosen,
        )  # fmt: skip
        return replace(found, editing=editing)

    def calibrate(
        self,
        normal: Photos,
        *,
        scores: Iterable[str] | None = None,
        method: Method | None = None,
        steps: int | None = None,
        features: str | Backbone | Features | None = None,
        kappa: float = KAPPA,
        align: Method | None = None,
        fit: Fit = "cover",
        seed: int = 0,
        on_step: Callable[[int, int], object] | None = None,
    ) -> Calibration:
        """How normal photos, which no training saw, are scored: what `score` holds others against, once and for all.

        ``scores``, ``features`` (also ``SCRIPT.py:FUNCTION``, or another backbone's name) and ``kappa`` are as in
        `ganenc.measures.Comparer`. ``method`` is by default one pass of the encoder; without one, or with ``steps``,
        latents are sought, held to what the generator draws, as to fill what is hidden. ``on_step`` is told, at every
        step, of photos done, and all. `GanencError` if a photo cannot be read, these are too few, or a score cannot be
        had.
        """
        if method is None and self.encoder is not None and steps is None:
            method = "encode"
        choice = Choice.of(method or self.default_method("fill"), at="method")
        if steps is not None:
            choice = choice.model_copy(update={"options": {**choice.options, "steps": steps}})
        comparer, many = self._comparer(scores, features, kappa, seed), several(normal)
        chosen = None if align is None else Choice.of(align, at="align")
        found = []
        for first in range(0, len(many), CHUNK):
            within = told_within(on_step, first, len(many))
            done = self.invert(many[first : first + CHUNK], choice, align=chosen, fit=fit, seed=seed, on_step=within)
            found.append(comparer(done.targets, done.reconstructions, done.latents))
            if on_step is not None:
                on_step(min(first + CHUNK, len(many)), len(many))
        if not found:
            raise SpecError("There are no normal photos to calibrate by; give some.")
        own = features is None or isinstance(features, str)
        name = features if own else getattr(features, "name", getattr(features, "__name__", "given"))
        return Calibration.of(
            Differences.cat(found), comparer.names, model=self.source, model_hash=self.hash, method=choice, seed=seed,
            fit=fit, align=chosen, backbone=self.backbone, features=name, kappa=kappa,
        )  # fmt: skip

    def score(
        self,
        photos: Photos,
        normal: Calibration | str | Path | Photos,
        *,
        false_alarms: float = FALSE_ALARMS,
        features: str | Backbone | Features | None = None,
        on_step: Callable[[int, int], object] | None = None,
        **how: Any,
    ) -> Scored:
        """How odd photos are, and where, beside ``normal`` ones: a calibration, its file, or photos to `calibrate` by,
        which ``how`` and ``features`` are of. A photo is called odd if it scores above what at most the share
        ``false_alarms`` of normal photos do. ``on_step`` is told, at every step, of photos done, and all. `GanencError`
        as of `calibrate`, if the calibration is another model's, or normal photos are too few for that rate.
        """
        if isinstance(normal, str | Path) and Path(normal).suffix in (".json", ".yaml", ".yml"):
            normal = Calibration.from_file(normal)
        if not isinstance(normal, Calibration):
            normal = self.calibrate(normal, features=features, **how)
        elif how:
            raise SpecError(f"{sorted(how)[0]} is of calibrating, and that is done; leave it out, or calibrate anew.")
        if normal.model_hash != self.hash:
            raise SpecError(f"The calibration is of the model {normal.model_hash[:12]}, and this is {self.hash[:12]}.")
        if features is None and normal.features is not None and ":" in normal.features:
            raise SpecError(f"The calibration took features of {normal.features}; give that again to run it.")
        if normal.backbone != self.backbone and {*normal.scores} - {"pixels", "latents", "peak"}:
            raise SpecError(f"The calibration took the backbone {normal.backbone}; load the model with it.")
        comparer = self._comparer(
            [*normal.scores, *normal.maps], features or normal.features, normal.kappa, normal.seed
        )
        many, made, found = several(photos), [], []
        kept: list[Photo] = []
        for first in range(0, len(many), CHUNK):
            done = self.invert(
                many[first : first + CHUNK], normal.method, align=normal.align, fit=normal.fit, seed=normal.seed,
                on_step=told_within(on_step, first, len(many)),
            )  # fmt: skip
            kept += done.photos
            made.append(done.reconstructions.detach().cpu())
            found.append(comparer(done.targets, done.reconstructions, done.latents))
            if on_step is not None:
                on_step(len(kept), len(many))
        if not kept:
            raise SpecError("There are no photos to score; give some.")
        spec = self.generator.spec
        judged = normal.judge(Differences.cat(found), spec.size, false_alarms)
        return Scored(
            **judged, photos=tuple(kept), reconstructions=torch.cat(made), spec=spec, calibration=normal,
            false_alarms=false_alarms,
        )  # fmt: skip

    def _comparer(
        self, names: Iterable[str] | None, features: str | Backbone | Features | None, kappa: float, seed: int
    ) -> Comparer:
        """What compares photos and what is made of them."""
        if isinstance(features, str):
            features = import_function(features) if ":" in features else load_backbone(features)
        if isinstance(features, Backbone):
            backbone = load_backbone(features, device=self.generator.device)
            features = lambda images: backbone(backbone.fit(images)).features[-1]  # noqa: E731
        return Comparer(
            self.context, lambda: self.own_latents(seed), names=names, backbone=self.metric_backbone(),
            features=features, kappa=kappa,
        )  # fmt: skip

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write a model folder, the encoder inside it; `load` takes it."""
        save_pretrained(self.generator, folder, info=self.info, half=half)
        if self.encoder is not None:
            save_pretrained(self.encoder, Path(folder) / ENCODER, info={"generator": self.hash}, half=half)

    def _taken(self, choices: Iterable[str] | Mapping[str, Any] | None, count: int) -> dict[str, Metric]:
        """The metrics of so many images: all that are asked for, or what can be had of the default."""
        named = choices if choices is None or isinstance(choices, Mapping) else list(choices)
        found = self.metrics(named or default_metrics())
        if named and len(found) < len(named):
            (first, *_) = [name for name in named if not any(name == one.partition("-")[0] for one in found)]
            shows = self.generator.spec.shows
            why = "taken on a backbone, and there is none; name one" if shows == "pictures" else f"not made for {shows}"
            raise SpecError(f"The metric {first} is {why}.")
        few = [name for name, metric in found.items() if metric.least > count and not named]
        for name in few:
            warnings.warn(f"{name} is left out: it takes {found.pop(name).least} images or more.", stacklevel=3)
        return found

    def _start(self, start: Start, *, mixed: bool = False) -> tuple[Latents, Tuning, Tensor | None]:
        """The latents of one sample, the tuning that they go with, and their photo (1, C, H, W), if any."""
        if isinstance(start, str | Path) and (file := self.latents_file(start)) is not None:
            start = self.latents(file)
        elif not isinstance(start, Latents | Inverted):
            start = self.invert(start, MIXABLE if mixed and self.encoder is not None else None)
        target = start.targets.cpu() if isinstance(start, Inverted) and start.seen is None else None
        latents = start.latents if isinstance(start, Inverted) else start
        if len(latents) != 1:
            raise LatentsError(f"One sample is edited at a time; these are {len(latents)}. Pick one by its number.")
        if isinstance(start, Inverted) and start.model.hash != self.hash:
            raise LatentsError(f"{start} is of the model {start.model.hash[:12]}, and this is {self.hash[:12]}.")
        tuning = start.sample(0)[1] if isinstance(start, Inverted) else self.tuning(latents)
        return self.generator.complete(latents), tuning, target

    def _told(self, edited: E, tuning: Tuning) -> E:
        """The same, with the tuning of its weights, and its facts with the model that it is of."""
        return replace(edited, facts={**edited.facts, "model": self.source, "model_hash": self.hash}, tuning=tuning)


def load(
    source: str | Path, *, device: str = "cpu", encoder: str | Path | None = None, backbone: str | None = None
) -> Model:
    """Load a model: a generator, its encoder where it has one, and what is known of them.

    ``source`` is an installed model, a model folder, a checkpoint of any known GAN, ``user/name`` on the Hub (with
    ``:file`` for a checkpoint in it), or what a script registered; ``encoder`` the folder of an encoder or a run, or a
    file of one, by default the model's own; ``backbone`` a registered one behind LPIPS, or ``none``, by default the
    model's own. `GanencError` if one is missing or unfit.
    """
    generator = load_generator(source, device=device)
    named = resolve(source)
    place = encoder or encoder_of(source)
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


def _spec_of(objective: Towards | None) -> ObjectiveSpec | None:
    if isinstance(objective, Objective):
        return objective.spec
    return objective if isinstance(objective, ObjectiveSpec) else ObjectiveSpec.from_mapping(objective or {})


def told_within(on_step: Callable[[int, int], object] | None, done: int, total: int) -> OnStep | None:
    """What an inverter tells at its steps, told as photos done before, and all: so that who waits is told that it goes
    on."""

    def told(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
        if on_step is not None:
            on_step(done + photo, total)

    return None if on_step is None else told


def several(photos: Photos) -> list[Readable | Photo]:
    """Photos as a list."""
    if isinstance(photos, Tensor):
        return [*photos] if photos.ndim == 4 else [photos]
    return [*photos] if isinstance(photos, list | tuple) else [photos]  # type: ignore[list-item]
