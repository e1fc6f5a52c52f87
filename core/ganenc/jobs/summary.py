"""The page of all photos of a job, made of what is at hand, and of files only where a process before wrote them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.images import depict, shrink
from ganenc.inversion import PhotoFolder
from ganenc.jobs.job_result import LISTED, JobResult
from ganenc.jobs.worker import Worker
from ganenc.report import Inverted, metric_name, metric_text, render, seconds_text

THUMBNAIL = 128
"""Pixels of the longer side of a picture on the page."""

Pair: TypeAlias = tuple[Tensor, Tensor]


class Pictures:
    """Small pictures of photos and their reconstructions by the names of their folders: the `LISTED` of lowest PSNR."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, str, Pair]] = []
        self._count = 0

    def add(self, name: str, inverted: Inverted) -> None:
        """Take those of one photo."""
        self._count += 1
        both = (inverted.photos[0].target, inverted.reconstructions[0].detach().cpu())
        pair = [depict(one, inverted.model.generator.spec) for one in both]
        small = (shrink(pair[0], THUMBNAIL).clone(), shrink(pair[1], THUMBNAIL).clone())
        heapq.heappush(self._kept, (-inverted.scores[0]["psnr"], self._count, name, small))
        if len(self._kept) > LISTED:
            heapq.heappop(self._kept)

    def pair(self, name: str) -> Pair | None:
        """Those of one photo, where they were kept."""
        return next((pair for *_, kept, pair in self._kept if kept == name), None)


def summary_page(result: JobResult, worker: Worker, pictures: Pictures) -> str:
    """The page of all photos, as HTML."""
    model, taken = worker.model, result.taken
    numbers = {f"mean {metric_name(name)}": metric_text(mean, taken.get(name)) for name, mean in result.metrics.items()}
    photos = [_shown(row, result.folder.path / row["folder"], worker, pictures) for row in result.rows]
    settings = {"method": worker.method.name, **worker.method.options, "seed": worker.spec.seed}
    return render(
        "summary.html",
        title=f"Inverted with {Path(model.source).name}",
        numbers={**numbers, "seconds a photo": seconds_text(result.seconds)},
        spec=model.generator.spec,
        result=result,
        photos=photos,
        classes=any(photo["label"] for photo in photos),
        thumbnail=THUMBNAIL,
        metric_settings={metric_name(name): how for name, how in result.facts["metric_settings"].items()},
        settings={**settings, "hash of the model's weights": model.hash},
    )


def _shown(row: Mapping[str, Any], path: Path, worker: Worker, pictures: Pictures) -> dict[str, Any]:
    """A photo's row on the page."""
    folder, spec = PhotoFolder(path), worker.model.generator.spec
    target, reconstruction = pictures.pair(path.name) or (
        _read(folder, name, spec.value_range) for name in (folder.TARGET, folder.RECONSTRUCTION)
    )
    return {
        "name": Path(row["photo"]).name,
        "metrics": row["metrics"],
        "seconds": row["seconds"],
        "target": target,
        "reconstruction": reconstruction,
        "link": f"{row['folder']}/{folder.PAGE}" if folder.has_page else "",
        "label": f"{row['label']} ({row['labels_from']})" if row.get("labels_from") else "",
    }


def _read(folder: PhotoFolder, name: str, value_range: tuple[float, float]) -> Tensor | None:
    try:
        return shrink(folder.picture(name, value_range=value_range), THUMBNAIL)
    except ImageError:
        return None
