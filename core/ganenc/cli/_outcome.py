"""What inverting photos gives: the results of all, as data, as a table and as a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc.cli._console import complain, say, show, show_table
from ganenc.cli._labels import class_text
from ganenc.cli._placing import NO_ALIGNMENT
from ganenc.cli._session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.align import Transform
    from ganenc.report import DomainCheck

__all__ = ["Job", "Outcome", "Result", "show_outcome", "unique_names", "warn_of_domain", "write_summary"]

SUMMARY = "index.html"


@dataclass(frozen=True)
class Job:
    """What to do with every photo."""

    session: Session
    out: Path
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Tensor | str | None = None
    """The classes of the photos int64 (N,), or the way to find them."""
    candidates: Sequence[int] | None = None
    """The classes among which to search."""
    seed: int = 0
    fit: str = "cover"
    align: str = NO_ALIGNMENT
    """How photos are aligned: ``none`` (by the fit alone), or a registered aligner with the options below."""
    align_options: Mapping[str, Any] = field(default_factory=dict)
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
    label: Any
    """The class that it was taken to be of, and in ``labels_from`` how that came; None where there are no classes."""
    labels_from: str | None
    target: Tensor = field(repr=False)
    reconstruction: Tensor = field(repr=False)
    check: DomainCheck | None = field(default=None, repr=False)
    transform: Transform | None = None
    """Where in the photo the target lies, where it was aligned."""

    def judged(self) -> dict[str, Any]:
        """What one pass of the encoder says of the photo, as data; empty where there is no encoder."""
        from ganenc.report import domain_warning, judge

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
            "warning": domain_warning(check, self.photo.name) or None,
            "verdict": judge(check, self.metrics["psnr"]).headline,
        }


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
                **({} if result.labels_from is None else {"label": result.label, "labels_from": result.labels_from}),
                **({} if result.transform is None else {"transform": result.transform.to_mapping()}),
                **result.judged(),
            }
            for result in self.results
        ]
        return {
            "model": job.session.source,
            "model_hash": job.session.hash,
            "method": job.method,
            "align": job.align,
            "out": job.out,
            "photos": photos,
            "failures": [{"photo": path, "error": reason} for path, reason in self.failures],
            "not_begun": self.left,
            "mean": self.means(),
            "mean_image": self.mean_image(),
            "metric_settings": self.metric_settings,
        }


def warn_of_domain(outcome: Outcome) -> None:
    """Say of each photo that is unlike what the generator makes that it is, and by which figures."""
    for result in outcome.results:
        warning = result.judged().get("warning")
        if warning:
            say(f"Note: {warning}")


def show_outcome(outcome: Outcome, job: Job, *, table: bool = True) -> None:
    """Print the table of photos if it is wanted, and say what failed."""
    names = list(dict.fromkeys(name for result in outcome.results for name in result.metrics))
    if table and outcome.results:
        labels = [[class_text(r.label, r.labels_from)] if r.labels_from else [] for r in outcome.results]
        blank = [""] * len(labels[0])
        rows = [
            [str(r.photo.name), *label, *_texts(r.metrics, names), f"{r.seconds:.1f}"]
            for r, label in zip(outcome.results, labels)
        ]
        rows.append(["(mean image)", *blank, *_texts(outcome.mean_image(), names), ""])
        seconds = sum(result.seconds for result in outcome.results) / len(outcome.results)
        last = ["mean", *blank, *_texts(outcome.means(), names), f"{seconds:.1f}"]
        head = ["photo", *(["class"] if blank else []), *names, "seconds"]
        show_table(head, rows, numeric=range(1 + len(blank), len(head)), last=last)
        show(f"Report: {job.out / SUMMARY}" if job.report else f"Results: {job.out}")
    if outcome.left:
        say(f"{outcome.left} photos were not begun, as there was no time left for them.")
    if outcome.failures:
        total = len(outcome.failures) + len(outcome.results)
        lost = ", ".join(str(path) for path, _ in outcome.failures)
        complain(f"{len(outcome.failures)} of {total} photos failed: {lost}.")


def unique_names(photos: Sequence[Path], *, taken: str = SUMMARY) -> list[str]:
    """A name for each photo: its stem, with a number where that is taken already, whatever its case."""
    taken_names = {taken}
    names = []
    for photo in photos:
        name, count = photo.stem, 2
        while name.casefold() in taken_names:
            name, count = f"{photo.stem}-{count}", count + 1
        taken_names.add(name.casefold())
        names.append(name)
    return names


def write_summary(outcome: Outcome, job: Job) -> None:
    """Write the page of all photos into the job's folder."""
    from ganenc.atomic import write_text
    from ganenc.report import ReportedPhoto, summary_report

    photos = [
        ReportedPhoto(
            r.photo.name,
            r.metrics,
            r.seconds,
            r.target,
            r.reconstruction,
            f"{r.name}/report.html",
            class_text(r.label, r.labels_from),
        )
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
