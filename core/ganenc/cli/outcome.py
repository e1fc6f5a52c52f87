"""What inverting photos gives: the results of all, as data, as a table and as a page."""

from __future__ import annotations

import heapq
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import ImageError

from ganenc.cli.console import complain, say, show, show_table
from ganenc.cli.labels import class_text
from ganenc.cli.placing import NO_ALIGNMENT
from ganenc.cli.record import DONE, INDEX, SUMMARY, Record
from ganenc.files import Processes

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session

__all__ = ["LISTED", "Job", "Outcome", "show_outcome", "warn_of_domain", "write_summary"]

LISTED = 100
"""Up to so many photos each has its row in the table and on the page, and a page of its own."""
WORST = 20
"""Of more, these are shown: those of lowest PSNR."""
NAMED = 100
"""So many photos that failed are named at the end; the index has them all."""
_LACKING = {"psnr": math.inf}
"""What a number that JSON does not have was, by metric: images that are equal have infinite PSNR."""
TOLD = 10
"""So many photos that are unlike what the generator makes are told."""


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
    """Whether to write the page of all photos."""
    pages: bool = True
    """Whether each photo gets a page of its own."""
    overwrite: bool = False
    """Invert photos again that were inverted before."""
    retry_failed: bool = False
    """Try photos again that could not be inverted before."""
    budget: float = math.inf
    """Seconds after which no further batch of photos is begun; one is inverted in any case."""
    processes: Processes = field(default_factory=Processes)

    def settings(self) -> dict[str, Any]:
        """All that a photo's result depends on besides the photo and its label, as data."""
        from ganenc.models import model_hash

        session = self.session
        return {
            "model": session.hash,
            "encoder": None if session.encoder is None else model_hash(session.encoder),
            "method": self.method,
            "options": {name: value for name, value in self.options.items() if name != "batch"},
            "objective": dict(session.towards),
            "backbone": session.backbone,
            "labels": self.labels if self.labels is None or isinstance(self.labels, str) else "given",
            "candidates": None if self.candidates is None else list(self.candidates),
            "seed": self.seed,
            "fit": self.fit,
            "align": self.align,
            "align_options": dict(self.align_options),
        }


class Outcome:
    """The photos that were asked for: numbers over all of them, and the rows of a few.

    Args:
        record: of the job, finished.
        metric_settings: how the metrics are taken, in words.

    Attributes:
        done: how many are inverted.
        left: how many were not begun, for want of time.
        failures: those that could not be, with the reason, as far as they are named.
        failed: how many those are.
        rows: of those inverted: all, or those of lowest PSNR where there are more than `LISTED`.
        warnings: what is to be told of photos that are unlike what the generator makes, as far as it is.
        far: how many those are.
    """

    def __init__(self, record: Record, metric_settings: dict[str, str]) -> None:
        self.record, self.metric_settings = record, metric_settings
        self.done = self.failed = self.far = 0
        self.failures: list[tuple[Path, str]] = []
        self.warnings: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self._sums = {name: _Means() for name in ("metrics", "metrics_of_the_mean_image")}
        self._seconds = 0.0
        worst: list[tuple[float, int, dict[str, Any]]] = []
        for row in self._all():
            if row["status"] != DONE:
                self.failed += 1
                self.failures += [(Path(row["photo"]), str(row.get("error")))] if self.failed <= NAMED else []
                continue
            self._add(row)
            self.rows += [row] if self.done <= LISTED else []
            heapq.heappush(worst, (-row["metrics"]["psnr"], -self.done, row))
            if len(worst) > WORST:
                heapq.heappop(worst)
        self.left = len(set(record.keys)) - self.done - self.failed
        if self.done > LISTED:
            self.rows = [row for *_, row in sorted(worst, key=lambda one: one[:2], reverse=True)]

    def _add(self, row: Mapping[str, Any]) -> None:
        self.done += 1
        self._seconds += row["seconds"]
        for name, sums in self._sums.items():
            sums.add(row[name])
        if row.get("warning"):
            self.far += 1
            self.warnings += [row["warning"]] if self.far <= TOLD else []

    def means(self) -> dict[str, float]:
        """The mean of every metric."""
        return self._sums["metrics"].means()

    def mean_image(self) -> dict[str, float]:
        """The metrics of the generator's mean image against the same photos."""
        return self._sums["metrics_of_the_mean_image"].means()

    def seconds(self) -> float:
        """The mean time of a photo."""
        return self._seconds / max(self.done, 1)

    def as_json(self, job: Job) -> dict[str, Any]:
        """The outcome as data, with every photo."""
        photos, failures = [], []
        internal = ("status", "error", "bytes", "modified", "given_label", "settings", "metrics_of_the_mean_image")
        for row in self._all():
            if row["status"] == DONE:
                kept = {name: value for name, value in row.items() if name not in internal}
                photos.append({**kept, "folder": job.out / row["folder"]})
            else:
                failures.append({"photo": row["photo"], "error": row.get("error")})
        return {
            "model": job.session.source,
            "model_hash": job.session.hash,
            "method": job.method,
            "align": job.align,
            "out": job.out,
            "index": job.out / INDEX,
            "photos": photos,
            "failures": failures,
            "not_begun": self.left,
            "done_before": self.record.skipped,
            "mean": self.means(),
            "mean_image": self.mean_image(),
            "metric_settings": self.metric_settings,
        }

    def _all(self) -> Iterator[dict[str, Any]]:
        """The rows, with the numbers in place that JSON does not have."""
        for row in self.record.rows():
            if row["status"] == DONE:
                for name in self._sums:
                    lacking = {key: _LACKING.get(key, math.nan) for key, value in row[name].items() if value is None}
                    row[name] |= lacking
            yield row


class _Means:
    """Means of numbers by name, of those that are finite."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] += value if math.isfinite(value) else 0.0
            self.counts[name] += math.isfinite(value)

    def means(self) -> dict[str, float]:
        lacking = {name: _LACKING.get(name, math.nan) for name, count in self.counts.items() if not count}
        return {name: lacking.get(name, total / max(self.counts[name], 1)) for name, total in self.sums.items()}


def warn_of_domain(outcome: Outcome) -> None:
    """Say of photos that are unlike what the generator makes that they are, and by which figures."""
    for warning in outcome.warnings:
        say(f"Note: {warning}")
    if outcome.far > len(outcome.warnings):
        more = outcome.far - len(outcome.warnings)
        say(f"Note: {more} more are unlike what the generator makes; their lines in {INDEX} hold `warning`.")


def show_outcome(outcome: Outcome, job: Job, *, table: bool = True) -> None:
    """Print the table of photos if it is wanted, and say what failed."""
    if table and outcome.rows:
        _show_rows(outcome)
        show(f"Report: {job.out / SUMMARY}" if job.report else f"Results: {job.out}")
    if table and outcome.record.skipped:
        before, total = outcome.record.skipped, len(outcome.record.photos)
        say(f"{before} of {total} photos were done before; --overwrite does them anew.")
    if outcome.left:
        say(f"{outcome.left} photos were not begun, as there was no time left for them.")
    if outcome.failed:
        lost = [str(path) for path, _ in outcome.failures]
        more = outcome.failed - len(lost)
        ending = f" and {more} more, see {job.out / INDEX}" if more else ""
        again = "" if job.retry_failed else " --retry-failed tries them again."
        total = outcome.failed + outcome.done
        complain(f"{outcome.failed} of {total} photos failed: {', '.join(lost)}{ending}.{again}")


def _show_rows(outcome: Outcome) -> None:
    from ganenc.report import seconds_text

    rows = outcome.rows
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    labels = [[_class(row)] if row.get("labels_from") else [] for row in rows]
    blank = [""] * len(labels[0])
    cells = [
        [Path(row["photo"]).name, *label, *_texts(row["metrics"], names), seconds_text(row["seconds"])]
        for row, label in zip(rows, labels, strict=True)
    ]
    cells.append(["(mean image)", *blank, *_texts(outcome.mean_image(), names), ""])
    last = ["mean", *blank, *_texts(outcome.means(), names), seconds_text(outcome.seconds())]
    head = ["photo", *(["class"] if blank else []), *names, "seconds"]
    if outcome.done > len(rows):
        show(f"Of {outcome.done} photos, the {len(rows)} of lowest PSNR; the means are of all:")
    show_table(head, cells, numeric=range(1 + len(blank), len(head)), last=last)


def write_summary(outcome: Outcome, job: Job) -> None:
    """Write the page of all photos into the job's folder."""
    from ganenc.files import write_text
    from ganenc.report import Totals, summary_report

    settings: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        text = (job.out / outcome.rows[0]["folder"] / "inversion.json").read_text(encoding="utf-8")
        settings = dict(json.loads(text)["settings"])
    html = summary_report(
        title=f"Inverted with {Path(job.session.source).name}",
        photos=[_reported(row, job) for row in outcome.rows],
        totals=Totals(outcome.done, outcome.failed, outcome.means(), outcome.seconds()),
        failures=[(str(path), reason) for path, reason in outcome.failures],
        baseline=outcome.mean_image(),
        value_range=job.session.generator.spec.value_range,
        settings={**settings, "seed": job.seed, "hash of the model's weights": job.session.hash},
        metric_settings=outcome.metric_settings,
    )
    write_text(job.out / SUMMARY, html)


def _reported(row: Mapping[str, Any], job: Job) -> Any:
    """A photo's row on the page, with its pictures as they lie in its folder."""
    from ganenc.report import ReportedPhoto

    folder = job.out / row["folder"]
    page = folder / "report.html"
    return ReportedPhoto(
        Path(row["photo"]).name,
        row["metrics"],
        row["seconds"],
        _picture(folder / "target.png", job),
        _picture(folder / "reconstruction.png", job),
        f"{row['folder']}/report.html" if page.is_file() else "",
        _class(row),
    )


def _picture(path: Path, job: Job) -> Tensor | None:
    from ganenc import images
    from ganenc.report import THUMBNAIL

    spec = job.session.generator.spec
    try:
        return images.shrink(images.read(path, channels=spec.channels, value_range=spec.value_range), THUMBNAIL)
    except ImageError:
        return None


def _class(row: Mapping[str, Any]) -> str:
    return class_text(row.get("label"), row.get("labels_from"))


def _texts(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    from ganenc.report import metric_text

    return [metric_text(name, metrics[name]) if name in metrics else "" for name in names]
