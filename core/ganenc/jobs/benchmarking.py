"""Methods compared on one model: photos and samples rebuilt and edited, at equal time and on their own schedules."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from ganenc_registry import registry
from ganenc_registry.components import component_class
from ganenc_registry.errors import CheckpointError, GanencError, ImageError, LatentsError, SpecError
from ganenc_registry.fields import changed, check_choices
from ganenc_registry.specs import BenchmarkSpec, Choice, Entrant, ObjectiveSpec, RunSpec, preset
from torch import Tensor
from torch.optim.swa_utils import update_bn

from ganenc.editing import Direction
from ganenc.encoders import Encoder
from ganenc.files import check_ours, is_plain_name, read_json, take_lock, write_json, write_text
from ganenc.images import depict, sheet
from ganenc.inversion import FEW, need_encoder, step_cost
from ganenc.jobs.evaluating import read_targets
from ganenc.jobs.kept import DIGITS, Kept
from ganenc.jobs.record import LOCK
from ganenc.jobs.runs import execute
from ganenc.measures import HELD_OUT, Evaluation
from ganenc.model import Model, load
from ganenc.models import load_encoder, model_hash
from ganenc.objectives import NO_BACKBONE
from ganenc.report import Compared, Inverted, benchmark_page, duration
from ganenc.training import Recipe, Synthesized, pretrain

FACTS, PAGE, SETTINGS, COST = "benchmark.json", "index.html", "settings.json", "cost.json"
WAY, ENCODERS = "direction.safetensors", "encoders"
OWN = "own"
TRIAL = 6
"""Steps from which it is learnt what one of a training costs."""
SETTLING, SETTLED = 20, 16
"""Batches, and images in each, that averages of batch norms are taken of after a training: in a short one they lag."""
DRAWS = 2000
"""From which a direction is found where none is named."""
SHOWN = 3
"""Photos of which there are strips."""
TAKEN = (FACTS, PAGE, SETTINGS, WAY, ENCODERS)
REMEDY = "delete it, or give another folder"
OWN_LOCK = f"{LOCK}-0"
FREE = ("methods", "seconds", "own", "train", "device")
"""Settings that a benchmark may go on with changed."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Benchmarked:
    """What a benchmark found."""

    rows: list[Compared]
    facts: dict[str, Any]
    """All numbers as plain data."""
    page: Path


def benchmark(
    spec: BenchmarkSpec,
    out: str | Path,
    *,
    on_note: Told | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_error: Callable[[Path, ImageError], None] | None = None,
) -> Benchmarked:
    """Compare methods on photos, on samples, or both: how near they come, and how well what they found is edited.

    Each goes on its own schedule, and with as many steps as fill each of ``spec.seconds`` a photo, as the cost of its
    steps is measured on the first; one photo at a time. What needs an encoder that there is not, or names a registered
    network as one, gets one that is trained for ``spec.train`` seconds, by the recipe of the network's name where there
    is one. The direction is the one named, else towards the class ``spec.towards``, else the first principal component.

    Every inversion is kept in ``out`` as it is done, and the same call goes on there; methods and times may be added.
    A method that fails on a photo is left out of the tables, which say so; if all do, the last error is raised.
    ``on_note`` is told what is done, ``on_step`` how many evaluations are done, and all; ``on_error`` of each photo
    that cannot be read. A GanencError if what is named is missing or unfit, or the folder holds something else.
    """
    check_choices(spec)
    if not spec.methods:
        raise SpecError("Name the methods to compare.")
    if not (spec.photos or spec.samples):
        raise SpecError("Name photos, or samples for synthesized images, or both.")
    for label, entrant in spec.methods.items():
        if not is_plain_name(label) or label.lower() in TAKEN:
            raise SpecError(f"methods.{label}: no folder can be called so; give the method another name.")
        if entrant.objective is not None:
            check_choices(entrant.objective, at=f"methods.{label}.objective.")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(spec.threads or threads)
        with _claimed(Path(out)):
            study = _Study(spec, Path(out), on_note or (lambda _: None), on_error)
            rows = []
            for place, (label, budget) in enumerate(study.plan):
                if on_step is not None:
                    on_step(place, len(study.plan))
                try:
                    rows.append(study.compared(label, budget))
                except (GanencError, RuntimeError) as error:  # Torch's own are of the latter.
                    if isinstance(error, CheckpointError) or (not rows and place + 1 == len(study.plan)):
                        raise
                    study.left_out(label, budget, error)
            return study.written(rows)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Keep others out of a folder, which is new, empty or a benchmark's."""
    if _kept_in(out) and not (out / SETTINGS).is_file():
        raise SpecError(f"{out} holds what is no benchmark; give another folder.")
    check_ours(out / FACTS, out / PAGE, out / SETTINGS)
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / OWN_LOCK)
    if not take_lock(lock):
        raise SpecError(f"Another command works in {out}; wait for it or end it, or give another folder.")
    try:
        yield
    finally:
        lock.release()


def _kept_in(out: Path) -> bool:
    """Whether a folder holds more than a benchmark leaves that failed before anything was done."""
    return out.is_dir() and any(one.name not in (OWN_LOCK, SETTINGS) for one in out.iterdir())


class _Study:
    """A benchmark while it goes on."""

    def __init__(
        self, spec: BenchmarkSpec, out: Path, note: Told, on_error: Callable[[Path, ImageError], None] | None
    ) -> None:
        self.spec, self.out, self.note = spec, out, note
        self.model = load(spec.model, device=spec.device, encoder=spec.encoder, backbone=spec.backbone)
        self._settle()
        self.sets: dict[str, dict[str, Any]] = {}
        """By ``photos`` and ``samples``, what `Model.evaluate` takes; the first of them is edited."""
        if spec.photos:
            self.sets["photos"] = read_targets(spec.model_copy(update={"samples": None}), self.model, on_error)
        if spec.samples:
            alone = spec.model_copy(update={"photos": (), "labels": None})
            self.sets["samples"] = read_targets(alone, self.model)
        self.edited = next(iter(self.sets))
        self.targets = self._targets(self.sets[self.edited]["photos"])
        self.models = {label: self._model(label, one) for label, one in spec.methods.items()}
        self.direction = self._direction()
        self.plan = [
            (label, budget)
            for budget in (None, *dict.fromkeys(spec.seconds))
            for label in spec.methods
            if self._takes(label, budget)
        ]
        """Methods and the seconds that they are to fill, None for their own schedules."""
        if not self.plan:
            raise SpecError("There is no time to compare the methods at; give seconds, or let own schedules be taken.")
        self._foretell()
        self.strips: list[list[dict[str, Tensor]]] = [[] for _ in self.targets]
        self.failed: dict[str, str] = {}
        """What went wrong with methods that are left out."""

    def left_out(self, label: str, budget: float | None, error: Exception) -> None:
        """Note that a method failed on a schedule."""
        self.failed[f"{label}, {_schedule(budget)}"] = str(error)
        self.note(f"{label} is left out: {error}")

    def compared(self, label: str, budget: float | None) -> Compared:
        """What a method gives on a schedule."""
        spec, model = self.spec, self.models[label]
        steps = None if budget is None else self._steps(label, budget)
        inverter = model.inverter(self._choice(label, steps))
        origin = "none" if model.encoder is None else model_hash(model.encoder)[:DIGITS]
        kept = Kept(inverter, self.out / label / _schedule(budget) / origin, model.hash)
        self.note(f"{label}: {'its own schedule' if steps is None else f'{budget:g} s a photo, {steps:,} steps'}.")
        found: dict[str, Evaluation] = {}
        choices: Any = spec.metrics or None
        for name, given in self.sets.items():
            edited = self.direction is not None and name == self.edited
            found[name] = model.evaluate(
                **given, method=kept, metrics=choices, folds=spec.folds, candidates=spec.candidates,
                objective=self._objective(label), truncation=spec.truncation if name == "samples" else 1.0,
                direction=self.direction if edited else None, towards=spec.towards if edited else None,
                strengths=spec.strengths, seed=spec.seed,
            )  # fmt: skip
        settled = inverter.settled(model.generator, model.encoder).options
        row = Compared(label, budget, getattr(settled, "steps", None), kept.megabytes, found)
        for place, strip in enumerate(self.strips):
            strip.append(self._strip(row, place, kept))
        return row

    def written(self, rows: list[Compared]) -> Benchmarked:
        """The page and the numbers, written down."""
        spec, model, threads = self.spec, self.model, torch.get_num_threads()
        networks = {label: one.encoder for label, one in self.models.items()}
        encoders = {label: None if one is None else model_hash(one) for label, one in networks.items()}
        direction = None if self.direction is None else self.direction.name
        facts: dict[str, Any] = {"spec": spec.to_mapping(), "model_hash": model.hash, "encoders": encoders}
        facts |= {"direction": direction, "threads": threads, "rows": [one.to_mapping() for one in rows]}
        facts["failed"] = self.failed
        shown: dict[str, Any] = {"model": model.source, "hash of its weights": model.hash, "direction": direction}
        shown |= {"towards class": spec.towards, "device": spec.device, "threads": threads}
        shown |= {f"{name}, left out": error for name, error in self.failed.items()}
        page = benchmark_page(
            rows, title=f"Methods on {Path(model.source).name}", run=spec, facts=shown,
            strips=[sheet(strip) for strip in self.strips],
        )  # fmt: skip
        write_json(self.out / FACTS, facts)
        write_text(self.out / PAGE, page)
        return Benchmarked(rows, facts, self.out / PAGE)

    def _settle(self) -> None:
        """Compare the settings with those that the folder holds, and write down what it is going to hold."""
        path, given = self.out / SETTINGS, self.spec.to_mapping()
        methods = {f"methods.{label}": one for label, one in given["methods"].items()}
        shared = {name: value for name, value in given.items() if name not in FREE}
        now: dict[str, Any] = {**shared, "hash": self.model.hash, **methods}
        known: Any = {}
        if path.is_file():
            held = read_json(path, REMEDY)
            known = held.get("benchmark") if isinstance(held, dict) else None
            if not isinstance(known, dict):
                raise SpecError(f"{self.out} holds what is no benchmark; give another folder.")
            known = known if _kept_in(self.out) else now
            for name, value in now.items():
                if known.get(name, None if name not in methods else value) != value:
                    raise SpecError(f"{self.out} holds a benchmark with another {name}; give another folder.")
        write_json(path, {"benchmark": {**known, **now}})

    def _targets(self, photos: Tensor | None) -> Tensor:
        """The first images that are edited."""
        if photos is not None:
            return photos[:SHOWN]
        spec, count = self.spec, self.spec.samples or 0
        labels = self.model.generator.draw_labels(count, seed=spec.seed, first=HELD_OUT)
        some = None if labels is None else labels[:SHOWN]
        return self.model.generate(
            min(SHOWN, count), seed=spec.seed, labels=some, truncation=spec.truncation, first=HELD_OUT
        ).images.cpu()

    def _choice(self, label: str, steps: int | None = None) -> Choice:
        chosen = self.spec.methods[label]
        return Choice(name=chosen.name, options=chosen.options if steps is None else {**chosen.options, "steps": steps})

    def _objective(self, label: str) -> ObjectiveSpec:
        return self.spec.methods[label].objective or self.spec.objective

    def _takes(self, label: str, budget: float | None) -> bool:
        """Whether a method goes on a schedule; what has no steps has its own alone."""
        steps = "steps" in type(self.model.inverter(self._choice(label)).options).model_fields
        return steps if budget is not None else self.spec.own or not steps

    def _foretell(self) -> None:
        """Say how long the times that are given add up to."""
        count = {name: len(given["photos"]) if given["samples"] is None else given["samples"]
                 for name, given in self.sets.items()}  # fmt: skip
        again = 0 if self.direction is None else count[self.edited]  # For the consistency of edits.
        seconds = sum(budget or 0.0 for _, budget in self.plan) * (sum(count.values()) + again)
        if seconds:
            self.note(f"The times a photo add up to {duration(seconds)}; own schedules come on top.")

    def _model(self, label: str, chosen: Entrant) -> Model:
        """The model with the encoder that a method takes."""
        named, model = chosen.encoder, self.model
        encoder, inverter = model.encoder, model.inverter(self._choice(label))
        made = {*registry().names("encoder"), *registry().names("recipe")}
        if named is not None and (os.path.exists(named) or named not in made):
            encoder = load_encoder(named, device=str(model.generator.device))
        elif named is not None or (encoder is None and inverter.needs_encoder):
            encoder = self._trained(label, named)
        return Model(model.generator, encoder, source=model.source, backbone=model.chosen_backbone, info=model.info)

    def _trained(self, label: str, named: str | None) -> Encoder:
        """An encoder by a registered recipe, or of a registered network, or ours, trained for the time there is."""
        if not self.spec.train and named is None:
            need_encoder(None, label)
        if not self.spec.train:
            raise SpecError(f"methods.{label}: the encoder {named!r} is to be trained; say for how long, as train=600.")
        given: dict[str, Any] = {"model": self.spec.model, "device": self.spec.device, "seed": self.spec.seed}
        if self.spec.backbone not in (None, NO_BACKBONE):
            given["objective"] = {"backbone": {"name": self.spec.backbone}}
        if named in registry().names("recipe"):
            fields = component_class("recipe", str(named), Recipe).encoder_fields
            given |= {"recipe": {"name": named}, "encoder": {"overrides": dict(fields)}}
        elif named is not None:
            given["encoder"] = {"overrides": {"network": {"name": named}}}
        run, folder = changed(preset("pretrain"), given), self.out / ENCODERS / (named or "blocks")
        plan = folder.with_suffix(".json")
        if not plan.is_file():
            write_json(plan, {"steps": max(1, int(self.spec.train / self._step_of(run)))})
        steps = int(_number(plan, "steps"))
        self.note(f"{label}: its encoder is trained in {steps:,} steps.")
        warmup = min(run.optimiser.warmup, steps // 10)  # The rate is to rise and fall in a short training, too.
        execute(changed(run, {"steps": steps, "optimiser.warmup": warmup}), folder)
        encoder = load_encoder(folder, device=str(self.model.generator.device))  # Laid out as in a run that goes on.
        drawn = Synthesized(self.model.generator, SETTLED, seed=self.spec.seed + 1)
        update_bn((drawn.batch(place).images for place in range(SETTLING)), encoder)
        return encoder

    def _step_of(self, run: RunSpec) -> float:
        """What a step of a training costs, in seconds."""
        times: list[float] = []
        trial = changed(run, {"steps": TRIAL, "saving.log_every": 1})
        pretrain(  # Of a copy, as training lays the weights out anew, which changes how images are rounded.
            copy.deepcopy(self.model.generator), trial, own_backbone=self.model.backbone,
            on_step=lambda *_: times.append(time.perf_counter()),
        )  # fmt: skip
        return (times[-1] - times[1]) / (TRIAL - 2)

    def _direction(self) -> Direction | None:
        """What photos are edited along; None where no latents can be."""
        spec, path = self.spec, self.out / WAY
        if spec.direction is not None:
            return self.model.direction(spec.direction)
        if not path.is_file():
            finder: dict[str, Any] = {"name": "pca", "options": {"components": 1}}
            if spec.towards is not None:
                finder = {"name": "classes", "options": {"classes": [spec.towards]}}
            self.note("A direction to edit along is found.")
            try:
                (found,) = self.model.find_directions(finder, DRAWS, seed=spec.seed)
            except LatentsError as error:
                self.note(f"Nothing is edited: {error}")
                return None
            found.save(path)
        return Direction.load(path, model=self.model.hash)

    def _steps(self, label: str, budget: float) -> int:
        """How many steps of a method fill a time, from what some cost on the first photo."""
        known, own = self.out / label / COST, self.out / label / _schedule(budget) / COST
        path = own if own.is_file() else known
        if not path.is_file():
            self.note(f"{label}: what its steps cost is measured.")
            step, around, seen = step_cost(partial(self._spent, label), budget)
            path = known if seen else own  # What a short time hides is of no use to a longer one.
            write_json(path, {"step": step, "around": around})
        return max(FEW, int((budget - _number(path, "around")) / max(_number(path, "step"), 1e-9)))

    def _spent(self, label: str, steps: int) -> float:
        """The seconds of so many steps on the first photo."""
        with tempfile.TemporaryDirectory() as scratch:
            kept = Kept(self.models[label].inverter(self._choice(label, steps)), Path(scratch), self.model.hash)
            self._inverted(label, 0, kept)
            return float(kept.facts[0]["seconds"])

    def _inverted(self, label: str, place: int, kept: Kept) -> Inverted:
        """One of the first photos, inverted."""
        given = self.sets[self.edited]
        labels = given["find"] if given["labels"] is None else given["labels"][place : place + 1]
        return self.models[label].invert(
            self.targets[place], kept, labels=labels, candidates=self.spec.candidates, objective=self._objective(label),
            seed=self.spec.seed,
        )  # fmt: skip

    def _strip(self, row: Compared, place: int, kept: Kept) -> dict[str, Tensor]:
        """One of the first photos, and what a method made of it, edited where it was."""
        editing, told = (
            row.sets[self.edited].editing,
            row.method if row.steps is None else f"{row.method}, {row.schedule}",
        )
        made = {told: self.targets[place]}
        if editing is None:
            made["rebuilt"] = self._inverted(row.method, place, kept).reconstructions[0]
        else:
            steps = zip(editing.edits.strengths, editing.edits.images[:, place], strict=True)
            made |= {f"{strength:+g}" if strength else "0": image for strength, image in steps}
        return {name: depict(image.cpu(), self.model.generator.spec) for name, image in made.items()}


def _schedule(budget: float | None) -> str:
    """The folder of a schedule."""
    return OWN if budget is None else f"{budget:g}s"


def _number(path: Path, name: str) -> float:
    """A number that was written down; a CheckpointError if it is not there."""
    found = read_json(path, REMEDY)
    number = found.get(name) if isinstance(found, dict) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
        raise CheckpointError(f"{path} is damaged; {REMEDY}.")
    return float(number)
