"""One batch of photos inverted, and what each photo leaves on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.cli.judging import Judge
from ganenc.cli.labels import class_text
from ganenc.cli.outcome import Job
from ganenc.cli.placing import NO_ALIGNMENT, Placed, Placer
from ganenc.cli.record import LATENTS, State, Todo
from ganenc.files import is_out_of_memory
from ganenc.inversion import build_inverter

if TYPE_CHECKING:
    from ganenc.latents import Latents
    from ganenc.measures import DomainCheck
    from ganenc.objectives import Attention, Look

__all__ = ["Failed", "Note", "Read", "Result", "Worker"]

Note: TypeAlias = Callable[[float, str], None]
"""Told how many photos of a batch are done, as a number with a fraction, and something about them."""


@dataclass(frozen=True)
class Read:
    """A photo that was read."""

    todo: Todo
    state: State
    """That the file had before."""
    placed: Placed = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """A photo that could not be read or inverted, and why."""

    todo: Todo
    state: State
    error: ImageError


@dataclass(frozen=True)
class Result:
    """One photo, inverted."""

    read: Read
    metrics: dict[str, float]
    mean_image: dict[str, float]
    seconds: float
    settings: dict[str, Any]
    label: Any
    """The class that it was taken to be of, and in ``labels_from`` how that came; None where there are no classes."""
    labels_from: str | None
    latents: Latents
    target: Tensor
    reconstruction: Tensor
    history: list[dict[str, float]]
    looks: list[Look]
    check: DomainCheck | None

    @property
    def todo(self) -> Todo:
        """The photo."""
        return self.read.todo

    def facts(self) -> dict[str, Any]:
        """What the index says of it."""
        transform = self.read.placed.transform
        return {
            "metrics": self.metrics,
            "metrics_of_the_mean_image": self.mean_image,
            "seconds": self.seconds,
            **({} if self.labels_from is None else {"label": self.label, "labels_from": self.labels_from}),
            **({} if transform is None else {"transform": transform.to_mapping()}),
            **self._judged(),
        }

    def _judged(self) -> dict[str, Any]:
        """What one pass of the encoder says of the photo, as data; empty where there is no encoder."""
        from ganenc.measures import domain_warning, judge

        check = self.check
        if check is None:
            return {}
        return {
            "one_pass": {
                "photo_psnr": check.photo_psnr,
                "generated_psnr": check.baseline.psnr,
                "generated_deviation": check.baseline.deviation,
                "generated_count": check.baseline.count,
                "deviations_below": check.deviations,
                "mean_image_psnr": check.photo_mean_psnr,
                "aligned_psnr": dict(check.aligned),
            },
            "far": check.far,
            "hint": check.hint,
            "warning": domain_warning(check, self.todo.photo.name) or None,
            "verdict": judge(check, self.metrics["psnr"]).headline,
        }


class Worker:
    """Inverts batches of photos; what does not depend on the photo is made once."""

    def __init__(self, job: Job) -> None:
        session = job.session
        self.job, self.spec = job, session.generator.spec
        inverter = build_inverter(job.method, **job.options)  # A wrong option is told before any work is done.
        self.together = self.size = inverter.at_once(session.generator, session.encoder)
        self.objective = session.objective_for(job.method, job.labels, job.candidates)
        self.backbone, self.metrics = session.metrics()
        self.placer = Placer(self.spec, fit=job.fit, attention=self._attention())
        if job.align != NO_ALIGNMENT:
            self.placer.aligner(job.align, job.align_options)
        with torch.no_grad():
            self.mean_image = session.generator.synthesize(session.generator.center())
        self.judge: Judge | None = None
        if session.encoder is not None:
            self.judge = Judge(session, self.placer, self.mean_image, job.seed)

    def _attention(self) -> Attention | None:
        """The attention of the objective, also where photos are aligned by it alone."""
        if self.objective is not None:
            return self.objective.attention
        return None if self.job.align == NO_ALIGNMENT else self.job.session.attention()

    def settings_of_metrics(self) -> dict[str, str]:
        """How the metrics are taken, in words."""
        return {name: metric.words(self.mean_image) for name, metric in self.metrics.items()}

    def read(self, todo: Todo) -> Read | Failed:
        """A photo as the generator takes it, or what is wrong with it."""
        labels, state = self._labels([todo]), todo.state()
        try:
            placed = self.placer.read(todo.photo, self.job.align, labels)
        except ImageError as error:
            return Failed(todo, state, error)
        return Read(todo, state, replace(placed, photo=None))  # Whole photos, of any size, do not wait here.

    def invert(self, batch: Sequence[Read], note: Note) -> list[Result | Failed]:
        """Invert a batch. Where that fails, for a photo in it or for want of memory, its halves are tried."""
        try:
            return [*self._inverted(batch, note)]
        except ImageError as error:
            if len(batch) == 1:
                return [Failed(batch[0].todo, batch[0].state, error)]
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            self.size = len(batch) // 2
        half = len(batch) // 2
        return [*self.invert(batch[:half], note), *self.invert(batch[half:], note)]

    def _inverted(self, batch: Sequence[Read], note: Note) -> list[Result]:
        from ganenc.inversion import invert
        from ganenc.measures import score

        job, generator = self.job, self.job.session.generator
        stacked = torch.stack([each.placed.target for each in batch])
        targets = stacked.to(device=generator.device, dtype=generator.dtype)
        given = job.labels if isinstance(job.labels, str) else self._labels([each.todo for each in batch])

        def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            group = min(self.together, len(batch) - photo)
            note(photo + group * step / max(steps, 1), f"loss {terms['total']:.4g}" if "total" in terms else "")

        inversion = invert(
            targets, generator, job.session.encoder, method=job.method, labels=given, candidates=job.candidates,
            objective=self.objective, seed=job.seed, on_step=on_step, **job.options,
        )  # fmt: skip
        made = inversion.reconstructions.detach()
        metrics = score(targets, made, self.metrics).rows
        baseline = score(targets, self.mean_image.expand_as(targets), self.metrics).rows
        settings = {key: value for key, value in inversion.settings.items() if key not in ("labels", "labels_from")}
        labels = None if inversion.labels is None else inversion.labels.tolist()
        results = []
        for place, read in enumerate(batch):
            target, label = targets[place : place + 1], None if labels is None else labels[place]
            known = None if inversion.labels is None else inversion.labels[place : place + 1]
            results.append(
                Result(
                    read,
                    metrics[place],
                    baseline[place],
                    inversion.seconds[place],
                    settings,
                    label,
                    inversion.settings.get("labels_from"),
                    inversion.latents.select(slice(place, place + 1)).to("cpu"),
                    target[0].cpu(),
                    made[place].cpu(),
                    inversion.history[place] if inversion.history else [],
                    self._looks(target, made[place : place + 1], known),
                    self._check(read.todo.photo, target, known, made[place : place + 1]),
                )
            )
        return results

    def _labels(self, photos: Sequence[Todo]) -> Tensor | None:
        """The classes that photos are said to have."""
        labels = self.job.labels
        return None if labels is None or isinstance(labels, str) else labels[[photo.place for photo in photos]]

    def _check(self, path: Path, target: Tensor, labels: Tensor | None, made: Tensor) -> DomainCheck | None:
        """One pass on the photo, which is the inversion itself where the method is that pass."""
        if self.judge is None:
            return None
        once = made if self.job.method == "encode" else None
        return self.judge.check(path, target, labels, self.job.align, once, try_others=self.job.pages)

    def _looks(self, target: Tensor, made: Tensor, labels: Tensor | None) -> list[Look]:
        """Where the attention looked, and what the losses saw, in the photo (1, C, H, W) and its reconstruction."""
        from ganenc.objectives import looks

        if self.objective is None or self.job.method == "encode" or not self.job.pages:
            return []
        return looks(
            self.objective.attention, target, made.to(target), labels=labels, value_range=self.spec.value_range
        )

    def write(self, result: Result) -> dict[str, Any]:
        """Write what a photo leaves, and give what the index says of it."""
        from ganenc import images
        from ganenc.files import drop_leftovers, write_json, write_text
        from ganenc.objectives import looks_sheet

        placed, values = self._whole(result), self.spec.value_range
        folder = self.job.out / result.todo.name
        drop_leftovers(folder)
        if placed.transform is not None:
            result.latents.info["transform"] = placed.transform.to_mapping()
        images.write_png(folder / "reconstruction.png", result.reconstruction, value_range=values)
        images.write_png(folder / "target.png", result.target, value_range=values)
        whole = placed.put_back(result.reconstruction)
        if whole is not None:
            images.write_png(folder / "photo.png", whole, value_range=values)
        if len(result.looks) > 1:
            images.write_png(folder / "attention.png", looks_sheet(result.looks, values))
        if self.job.pages:
            write_text(folder / "report.html", self._page(result, placed, whole))
        facts = result.facts()
        write_json(folder / "inversion.json", self._facts(result, facts))
        result.latents.save(folder / LATENTS, model=self.job.session.hash)
        wanted = {"photo.png": whole is not None, "attention.png": len(result.looks) > 1, "report.html": self.job.pages}
        for name in (name for name, written in wanted.items() if not written):
            (folder / name).unlink(missing_ok=True)  # Of an inversion before this one.
        return facts

    def _whole(self, result: Result) -> Placed:
        """Where the photo lies, with the whole photo if it was aligned and is still there."""
        placed = result.read.placed
        if placed.transform is not None:
            with suppress(ImageError):
                return replace(placed, photo=self.placer.whole(result.todo.photo))
        return placed

    def _page(self, result: Result, placed: Placed, whole: Tensor | None) -> str:
        from ganenc.report import ReportedPlace, inversion_report

        place = None
        if placed.transform is not None and placed.photo is not None and whole is not None:
            place = ReportedPlace(self.job.align, placed.photo, whole, placed.transform.corners())
        return inversion_report(
            title=result.todo.photo.name,
            target=result.target,
            reconstruction=result.reconstruction,
            metrics=result.metrics,
            value_range=self.spec.value_range,
            metric_settings=self.settings_of_metrics(),
            looks=result.looks,
            place=place,
            history=result.history,
            check=result.check,
            settings={
                **result.settings,
                **({} if result.labels_from is None else {"class": class_text(result.label, result.labels_from)}),
                "seed": self.job.seed,
                "space of the latents": result.latents.space,
            },
            seconds=result.seconds,
            model=self.job.session.source,
            model_hash=self.job.session.hash,
        )

    def _facts(self, result: Result, facts: Mapping[str, Any]) -> dict[str, Any]:
        session, history = self.job.session, result.history
        return {
            "photo": str(result.todo.photo),
            "model": session.source,
            "model_hash": session.hash,
            "method": self.job.method,
            "steps": len(history),
            "metric_settings": self.settings_of_metrics(),
            "settings": result.settings,
            "objective": session.towards,
            "space": result.latents.space,
            "seed": self.job.seed,
            "fit": self.job.fit,
            "align": self.job.align,
            "transform": None,
            "labels": None if result.label is None else [result.label],
            "labels_from": result.labels_from,
            "backbone": self.backbone.name if self.backbone else None,
            "loss": history[-1] if history else None,
            **{name: value for name, value in facts.items() if name != "label"},
        }
