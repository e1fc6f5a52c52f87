"""The page of all photos of a job, made of what is at hand, and of files only where a process before wrote them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.images import shrink
from ganenc.inversion import PhotoFolder
from ganenc.jobs.job_result import LISTED, JobResult
from ganenc.jobs.worker import Worker
from ganenc.report import THUMBNAIL, Inverted, ReportedPhoto, Totals, summary_report

__all__ = ["Pictures", "summary_page"]

Pair: TypeAlias = tuple[Tensor, Tensor]


class Pictures:
    """Small pictures of photos and their reconstructions by the names of their folders: the `LISTED` of lowest PSNR."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, str, Pair]] = []
        self._count = 0

    def add(self, name: str, inverted: Inverted) -> None:
        """Take those of one photo."""
        self._count += 1
        pair = (inverted.photos[0].target, inverted.reconstructions[0].detach().cpu())
        small = (shrink(pair[0], THUMBNAIL).clone(), shrink(pair[1], THUMBNAIL).clone())
        heapq.heappush(self._kept, (-inverted.scores[0]["psnr"], self._count, name, small))
        if len(self._kept) > LISTED:
            heapq.heappop(self._kept)

    def pair(self, name: str) -> Pair | None:
        """Those of one photo, where they were kept."""
        return next((pair for *_, kept, pair in self._kept if kept == name), None)


def summary_page(result: JobResult, worker: Worker, pictures: Pictures) -> str:
    """The page of all photos, as HTML."""
    model = worker.model
    settings = {"method": worker.method.name, **worker.method.options, "seed": worker.spec.seed}
    return summary_report(
        title=f"Inverted with {Path(model.source).name}",
        photos=[_reported(row, result.folder.path / row["folder"], worker, pictures) for row in result.rows],
        totals=Totals(result.done, result.failed, result.metrics, result.seconds),
        failures=[(str(path), reason) for path, reason in result.failures],
        baseline=result.metrics_of_the_mean_image,
        value_range=model.generator.spec.value_range,
        settings={**settings, "hash of the model's weights": model.hash},
        metric_settings=result.facts["metric_settings"],
        taken=result.taken,
    )


def _reported(row: Mapping[str, Any], path: Path, worker: Worker, pictures: Pictures) -> ReportedPhoto:
    """A photo's row on the page."""
    folder, spec = PhotoFolder(path), worker.model.generator.spec
    target, reconstruction = pictures.pair(path.name) or (
        _read(folder, name, spec.value_range) for name in (folder.TARGET, folder.RECONSTRUCTION)
    )
    return ReportedPhoto(
        Path(row["photo"]).name,
        row["metrics"],
        row["seconds"],
        target,
        reconstruction,
        f"{row['folder']}/{folder.PAGE}" if folder.has_page else "",
        f"{row['label']} ({row['labels_from']})" if row.get("labels_from") else "",
    )


def _read(folder: PhotoFolder, name: str, value_range: tuple[float, float]) -> Tensor | None:
    try:
        return shrink(folder.picture(name, value_range=value_range), THUMBNAIL)
    except ImageError:
        return None
