"""What a job gives: the rows of its photos and numbers over all of them, as data."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganenc.jobs.photo_index import INDEX
from ganenc.jobs.photo_row import DONE
from ganenc.jobs.record import Record
from ganenc.measures import Metric

LISTED = 100
"""Up to so many photos each has its row in the table and on the page, and by default a page of its own."""
WORST = 20
"""Of more, these are shown: those of lowest PSNR."""
NAMED = 100
"""So many photos that failed are named; the index has them all."""
TOLD = 10
"""So many photos that are unlike what the generator makes are told."""
INTERNAL = ("status", "error", "bytes", "modified", "given_label", "settings", "metrics_of_the_mean_image")


class JobResult:
    """What came of a job, by its finished record: how many photos were asked for (``photos``), are inverted (``done``),
    of these before (``skipped``), ``failed``, or were not begun for want of time (``left``).

    ``failures`` are those that could not be, with the reason, as far as they are named; ``rows`` of those inverted all,
    or those of lowest PSNR where there are more than `LISTED`; ``warnings`` on photos that are unlike what the
    generator makes, as far as they are told, of ``far`` in all. ``facts`` are true of all photos: ``model``,
    ``model_hash``, ``method``, ``align``, ``metric_settings``; ``taken`` are the metrics by name.
    """

    def __init__(self, record: Record, facts: Mapping[str, Any], taken: Mapping[str, Metric]) -> None:
        self.folder, self.facts, self.taken = record.folder, facts, taken
        self.photos, self.skipped = len(record.photos), record.skipped
        self.done = self.failed = self.far = 0
        self.failures: list[tuple[Path, str]] = []
        self.warnings: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self._record, self._seconds = record, 0.0
        self._sums = {name: _Means() for name in ("metrics", "metrics_of_the_mean_image")}
        worst: list[tuple[float, int, dict[str, Any]]] = []
        for row in record.rows():
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

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of every metric."""
        return self._sums["metrics"].means()

    @property
    def metrics_of_the_mean_image(self) -> dict[str, float]:
        """The metrics of the generator's mean image against the same photos."""
        return self._sums["metrics_of_the_mean_image"].means()

    @property
    def seconds(self) -> float:
        """The mean time of a photo."""
        return self._seconds / max(self.done, 1)

    def every_row(self) -> Iterator[dict[str, Any]]:
        """The rows of all photos asked for, those that failed among them, one at a time."""
        return self._record.rows()

    def to_mapping(self) -> dict[str, Any]:
        """The result as data, with every photo."""
        photos, failures = [], []
        for row in self.every_row():
            if row["status"] == DONE:
                kept = {name: value for name, value in row.items() if name not in INTERNAL}
                photos.append({**kept, "folder": self.folder.path / row["folder"]})
            else:
                failures.append({"photo": row["photo"], "error": row.get("error")})
        return {
            **self.facts,
            "out": self.folder.path,
            "index": self.folder.path / INDEX,
            "photos": photos,
            "failures": failures,
            "not_begun": self.left,
            "done_before": self.skipped,
            "mean": self.metrics,
            "mean_image": self.metrics_of_the_mean_image,
        }


class _Means:
    """Means of numbers by name, of those that are finite; of a name that has none, what all of them are."""

    def __init__(self) -> None:
        self.values: defaultdict[str, tuple[float, int, float]] = defaultdict(lambda: (0.0, 0, math.nan))

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            total, count, other = self.values[name]
            good = math.isfinite(value)
            self.values[name] = (total + value, count + 1, other) if good else (total, count, value)

    def means(self) -> dict[str, float]:
        return {name: total / count if count else other for name, (total, count, other) in self.values.items()}
