"""What many shards that were inverted hold, over all of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ganenc_registry.errors import GanencError, ImageError, LatentsError

from ganenc.files import load_parquet, open_parquet
from ganenc.jobs.job_result import WORST
from ganenc.jobs.shard_records import PARQUET
from ganenc.latents import FORM

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
_ROWS = 4096
"""Read at a time."""


@dataclass
class ShardIndex:
    """Numbers over the shards in a folder."""

    folder: Path
    shards: int = 0
    photos: int = 0
    """Rows, those that failed among them."""
    failed: int = 0
    methods: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    """How many shards are of which model, by its hash."""
    seconds: float = 0.0
    percentiles: dict[str, dict[int, float]] = field(default_factory=dict)
    """Of every metric, by `PERCENTILES`."""
    worst: list[tuple[float, str, str]] = field(default_factory=list)
    """PSNR, shard and key of the photos of lowest PSNR, which are worth refining."""
    broken: list[str] = field(default_factory=list)
    """Files that are no shards of latents, and why."""

    def to_mapping(self) -> dict[str, Any]:
        """All of it as data."""
        worst = [{"psnr": psnr, "shard": shard, "key": key} for psnr, shard, key in self.worst]
        return {**vars(self), "worst": worst}


def index_shards(folder: str | Path) -> ShardIndex:
    """Look through the shards that were inverted into a folder; four bytes a photo and metric are held. A GanencError
    if there are none, or pyarrow is missing."""
    index = ShardIndex(Path(folder))
    values: dict[str, list[np.ndarray[Any, Any]]] = {}
    worst: list[tuple[float, str, str]] = []
    for path in _files(index.folder):
        try:
            for rows in _rows(path, index):
                taken: dict[str, list[float]] = {}
                for row in rows:
                    for name, value in row["metrics"].items():
                        taken.setdefault(name, []).append(float("nan") if value is None else value)
                    heapq.heappush(worst, (-(row["metrics"].get("psnr") or float("-inf")), path.stem, row["key"]))
                    if len(worst) > WORST:
                        heapq.heappop(worst)
                for name, some in taken.items():
                    values.setdefault(name, []).append(np.array(some, np.float32))
        except GanencError as error:
            index.broken.append(str(error))
    for name, found in values.items():
        numbers = np.percentile(np.concatenate(found), PERCENTILES, method="nearest")
        index.percentiles[name] = dict(zip(PERCENTILES, numbers.tolist(), strict=True))
    index.worst = [(-psnr, shard, key) for psnr, shard, key in sorted(worst, reverse=True)]
    return index


def failed_photos(folder: str | Path) -> Iterator[tuple[str, str, str]]:
    """Shard, key and error of every photo that failed, one at a time; files that are no shards are passed over."""
    for path in _files(Path(folder)):
        try:
            with open_parquet(path, LatentsError) as opened:
                for batch in opened.iter_batches(_ROWS, columns=["key", "error"], use_threads=False):
                    yield from (
                        (path.stem, str(row["key"]), str(row["error"]))
                        for row in batch.to_pylist()
                        if row["error"] is not None
                    )
        except LatentsError:
            continue


def _files(folder: Path) -> list[Path]:
    load_parquet()
    found = sorted(path for path in folder.glob(f"*{PARQUET}") if not path.name.startswith("."))
    if not found:
        raise ImageError(f"There are no shards of latents in {folder}; give the folder that `ganenc invert` wrote to.")
    return found


def _rows(path: Path, index: ShardIndex) -> Iterator[list[dict[str, Any]]]:
    """The rows of a shard that did not fail, some at a time, all being counted."""
    with open_parquet(path, LatentsError) as opened:
        schema = opened.schema_arrow
        metadata = schema.metadata or {}
        columns = ["key", "metrics", "verdict", "method", "seconds", "error"]
        if metadata.get(b"format") != FORM.encode() or not {*columns} <= {*schema.names}:
            raise LatentsError(f"{path} is no shard of latents that `ganenc invert` left.")
        index.shards += 1
        index.models[metadata.get(b"model", b"").decode("utf-8", "replace")] += 1
        for batch in opened.iter_batches(_ROWS, columns=columns, use_threads=False):
            rows = [row for row in batch.to_pylist() if row["error"] is None]
            index.photos += batch.num_rows
            index.failed += batch.num_rows - len(rows)
            index.methods.update(row["method"] for row in rows)
            index.verdicts.update(row["verdict"] for row in rows if row["verdict"] is not None)
            index.seconds += sum(row["seconds"] or 0.0 for row in rows)
            yield rows
