"""Inverting photos one by one, and what each leaves on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import ImageError

from ganenc.cli._console import Bar, complain, say, show, show_table
from ganenc.cli._session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.inverters import Inversion
    from ganenc.objective import Objective
    from ganenc.report import Baseline, DomainCheck

__all__ = ["Job", "Outcome", "Result", "invert_photos", "show_outcome", "unique_names"]

SUMMARY = "index.html"


@dataclass(frozen=True)
class Job:
    """What to do with every photo."""

    session: Session
    out: Path
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[int] | None = None
    seed: int = 0
    fit: str = "cover"
    report: bool = True
    budget: float = math.inf
    """Seconds after which no further photo is begun; one is inverted in any case."""


@dataclass(frozen=True)
class Result:
    """One photo, inverted."""

    photo: Path
    name: str
    metrics: dict[str, float]
    mean_image: dict[str, float]
    seconds: float
    settings: dict[str, Any]
    target: Tensor = field(repr=False)
    reconstruction: Tensor = field(repr=False)
    check: DomainCheck | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Outcome:
    """All photos."""

    results: list[Result]
    failures: list[tuple[Path, str]]
    metric_settings: dict[str, str]
    left: int = 0
    """How many photos were not begun, for want of time."""

    def means(self) -> dict[str, float]:
        """The mean of every metric."""
        return _means(result.metrics for result in self.results)

    def mean_image(self) -> dict[str, float]:
        """The metrics of the generator's mean image against the same photos."""
        return _means(result.mean_image for result in self.results)

    def as_json(self, job: Job) -> dict[str, Any]:
        """The outcome as data."""
        photos = [
            {
                "photo": result.photo,
                "folder": job.out / result.name,
                "metrics": result.metrics,
                "seconds": result.seconds,
            }
            for result in self.results
        ]
        return {
            "model": job.session.source,
            "model_hash": job.session.hash,
            "method": job.method,
            "out": job.out,
            "photos": photos,
            "failures": [{"photo": path, "error": reason} for path, reason in self.failures],
            "not_begun": self.left,
            "mean": self.means(),
            "mean_image": self.mean_image(),
            "metric_settings": self.metric_settings,
        }


class _Worker:
    """Inverts one photo after another; what does not depend on the photo is made once."""

    def __init__(self, job: Job, count: int) -> None:
        import torch

        from ganenc.inverters.entry import build_inverter
        from ganenc.report import measure_baseline

        session = job.session
        self.job, self.spec = job, session.generator.spec
        self.labels = session.labels(job.labels, count)
        build_inverter(job.method, **job.options)  # A wrong option is told before any work is done.
        self.objective: Objective | None = None if job.method == "encode" else session.objective()
        self.backbone = session.metric_backbone()
        self.baseline: Baseline | None = None
        if session.encoder is not None and job.report:
            self.baseline = measure_baseline(session.generator, session.encoder, seed=job.seed)
        with torch.no_grad():
            self.mean_image = session.generator.synthesize(session.generator.center())

    def settings_of_metrics(self) -> dict[str, str]:
        """How the metrics are taken, in words."""
        from ganenc.metrics import metric_settings

        return metric_settings(self.mean_image, self.backbone)

    def invert(self, path: Path, name: str, index: int, bar: Bar, done: int, each: int) -> Result:
        """Invert one photo and write what it leaves."""
        from ganenc import images
        from ganenc.inverters import invert
        from ganenc.metrics import evaluate_pairs

        job, spec, generator = self.job, self.spec, self.job.session.generator
        fit: Any = job.fit
        target = images.read(path, size=spec.size, channels=spec.channels, value_range=spec.value_range, fit=fit)
        target = target[None].to(device=generator.device, dtype=generator.dtype)
        labels = None if self.labels is None else self.labels[index : index + 1]

        def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            bar.update(done + step * each // max(steps, 1), f"loss {terms['total']:.4g}" if "total" in terms else "")

        inversion = invert(
            target, generator, job.session.encoder, method=job.method, labels=labels, objective=self.objective,
            seed=job.seed, on_step=on_step, **job.options,
        )  # fmt: skip
        values = spec.value_range
        made = inversion.reconstructions.detach()
        mean = self.mean_image.expand_as(target)
        result = Result(
            path,
            name,
            evaluate_pairs(target, made, value_range=values, backbone=self.backbone)[0],
            evaluate_pairs(target, mean, value_range=values, backbone=self.backbone)[0],
            inversion.seconds[0],
            inversion.settings,
            target[0].cpu(),
            made[0].cpu(),
            self._check(target, labels) if job.report else None,
        )
        self._write(result, inversion, target, labels)
        return result

    def _check(self, target: Tensor, labels: Tensor | None) -> DomainCheck | None:
        import torch

        from ganenc.metrics import psnr
        from ganenc.report import DomainCheck

        encoder, generator = self.job.session.encoder, self.job.session.generator
        if encoder is None or self.baseline is None:
            return None
        values = self.spec.value_range
        with torch.no_grad():
            once = generator.synthesize(encoder.eval()(target, labels=labels))
        photo = psnr(target, once, value_range=values)[0]
        return DomainCheck(self.baseline, photo, psnr(target, self.mean_image, value_range=values)[0])

    def _write(self, result: Result, inversion: Inversion, target: Tensor, labels: Tensor | None) -> None:
        from ganenc import images
        from ganenc.atomic import write_json, write_text

        folder, values = self.job.out / result.name, self.spec.value_range
        inversion.latents.save(folder / "latents.safetensors", model=self.job.session.hash)
        images.write_png(folder / "reconstruction.png", result.reconstruction, value_range=values)
        images.write_png(folder / "target.png", result.target, value_range=values)
        if self.job.report:
            write_text(folder / "report.html", self._report(result, inversion, target, labels))
        write_json(folder / "inversion.json", self._facts(result, inversion, labels))

    def _report(self, result: Result, inversion: Inversion, target: Tensor, labels: Tensor | None) -> str:
        from ganenc.report import inversion_report

        history = inversion.history[0] if inversion.history else []
        return inversion_report(
            title=result.photo.name,
            target=result.target,
            reconstruction=result.reconstruction,
            metrics=result.metrics,
            value_range=self.spec.value_range,
            metric_settings=self.settings_of_metrics(),
            views=self._views(target, result.reconstruction, labels),
            history=history,
            check=result.check,
            settings={**result.settings, "seed": self.job.seed, "space": inversion.latents.space},
            seconds=result.seconds,
            model=self.job.session.source,
            model_hash=self.job.session.hash,
        )

    def _views(self, target: Tensor, made: Tensor, labels: Tensor | None) -> list[Any]:
        from ganenc.report import ReportedView

        if self.objective is None:
            return []
        attention = self.objective.attention
        context = {} if labels is None else {"labels": labels}
        focus = attention.prepare(target, **context)
        pairs = zip(attention.views(target, focus), attention.views(made[None].to(target), focus))
        return [ReportedView(a.name, a.weight, a.image[0].cpu(), b.image[0].cpu()) for a, b in pairs]

    def _facts(self, result: Result, inversion: Inversion, labels: Tensor | None) -> dict[str, Any]:
        from ganenc.report import judge

        session, check = self.job.session, result.check
        history = inversion.history[0] if inversion.history else []
        facts: dict[str, Any] = {
            "photo": str(result.photo),
            "model": session.source,
            "model_hash": session.hash,
            "method": self.job.method,
            "steps": len(history),
            "seconds": result.seconds,
            "metrics": result.metrics,
            "metrics_of_the_mean_image": result.mean_image,
            "metric_settings": self.settings_of_metrics(),
            "settings": result.settings,
            "space": inversion.latents.space,
            "seed": self.job.seed,
            "fit": self.job.fit,
            "labels": None if labels is None else labels.tolist(),
            "backbone": self.backbone.name if self.backbone else None,
            "loss": history[-1] if history else None,
        }
        if check is not None:
            facts["one_pass"] = {"photo_psnr": check.photo_psnr, "generated_psnr": check.baseline.psnr}
            facts["verdict"] = judge(check, result.metrics["psnr"]).headline
        return facts


def invert_photos(photos: Sequence[Path], job: Job) -> Outcome:
    """Invert photos one by one and write what each leaves; one that fails is named, and the rest go on.

    Raises:
        GanencError: if the method or the model cannot do it at all.
    """
    worker = _Worker(job, len(photos))
    each = 100
    results: list[Result] = []
    failures: list[tuple[Path, str]] = []
    began = time.monotonic()
    with Bar("inverting", each * len(photos)) as bar:
        for index, (path, name) in enumerate(zip(photos, unique_names(photos), strict=True)):
            spent = time.monotonic() - began
            if index and spent + spent / index > job.budget:
                break
            bar.update(index * each, what=f"{path.name} ({index + 1} of {len(photos)})")
            try:
                results.append(worker.invert(path, name, index, bar, index * each, each))
            except ImageError as error:
                failures.append((path, str(error)))
                bar.note(f"Skipped: {error}")
    left = len(photos) - len(results) - len(failures)
    outcome = Outcome(results, failures, worker.settings_of_metrics(), left)
    if job.report and results:
        _write_summary(outcome, job)
    return outcome


def show_outcome(outcome: Outcome, job: Job, *, table: bool = True) -> None:
    """Print the table of photos if it is wanted, and say what failed."""
    names = list(dict.fromkeys(name for result in outcome.results for name in result.metrics))
    if table and outcome.results:
        rows = [[str(r.photo.name), *_texts(r.metrics, names), f"{r.seconds:.1f}"] for r in outcome.results]
        rows.append(["(mean image)", *_texts(outcome.mean_image(), names), ""])
        seconds = sum(result.seconds for result in outcome.results) / len(outcome.results)
        last = ["mean", *_texts(outcome.means(), names), f"{seconds:.1f}"]
        show_table(["photo", *names, "seconds"], rows, numeric=range(1, len(names) + 2), last=last)
        show(f"Report: {job.out / SUMMARY}" if job.report else f"Results: {job.out}")
    if outcome.left:
        say(f"{outcome.left} photos were not begun, as there was no time left for them.")
    if outcome.failures:
        total = len(outcome.failures) + len(outcome.results)
        lost = ", ".join(str(path) for path, _ in outcome.failures)
        complain(f"{len(outcome.failures)} of {total} photos failed: {lost}.")


def unique_names(photos: Sequence[Path]) -> list[str]:
    """A folder's name for each photo: its stem, with a number where that is taken already, whatever its case."""
    taken = {SUMMARY}
    names = []
    for photo in photos:
        name, count = photo.stem, 2
        while name.casefold() in taken:
            name, count = f"{photo.stem}-{count}", count + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _write_summary(outcome: Outcome, job: Job) -> None:
    from ganenc.atomic import write_text
    from ganenc.report import ReportedPhoto, summary_report

    photos = [
        ReportedPhoto(r.photo.name, r.metrics, r.seconds, r.target, r.reconstruction, f"{r.name}/report.html")
        for r in outcome.results
    ]
    html = summary_report(
        title=f"Inverted with {Path(job.session.source).name}",
        photos=photos,
        failures=[(str(path), reason) for path, reason in outcome.failures],
        baseline=outcome.mean_image(),
        value_range=job.session.generator.spec.value_range,
        settings={**outcome.results[0].settings, "seed": job.seed, "hash of the model's weights": job.session.hash},
        metric_settings=outcome.metric_settings,
    )
    write_text(job.out / SUMMARY, html)


def _means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    from ganenc.report import mean_std

    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: mean_std(values)[0] for name, values in columns.items()}


def _texts(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    from ganenc.report import metric_text

    return [metric_text(name, metrics[name]) if name in metrics else "" for name in names]
