"""Many photos scored, batch by batch, and what that leaves in a folder."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import ImageError
from PIL import Image, ImageOps
from torch import Tensor

from ganenc.files import write_json, write_text
from ganenc.images import decode, depict, find, flatten, shrink
from ganenc.inversion import Photo
from ganenc.jobs.job_result import LISTED
from ganenc.jobs.prefetching import batches
from ganenc.jobs.result_folder import unique_names
from ganenc.jobs.summary import THUMBNAIL
from ganenc.measures import CHUNK, FALSE_ALARMS, Calibration, Features, Oddity, detection
from ganenc.model import Model
from ganenc.report import scored_page

NUMBERS, PAGE, MAPS = "scores.json", "index.html", "maps"


def score_photos(
    model: Model,
    photos: Sequence[Path],
    calibration: Calibration,
    out: str | Path,
    *,
    false_alarms: float = FALSE_ALARMS,
    features: str | Features | None = None,
    truth: Sequence[int] | None = None,
    masks: str | Path | None = None,
    on_step: Callable[[int], object] | None = None,
    on_error: Callable[[Path, ImageError], object] | None = None,
) -> dict[str, Any]:
    """Score photos into a folder: ``scores.json`` (which is given), ``index.html`` (of the oddest), ``maps`` over them.

    ``truth`` (which are odd) or ``masks`` (a folder of pictures as large as the photos and with their names, or these
    and ``_mask``, white where they are odd; a photo without one is normal) are to tell how well it went. ``on_step`` is
    told how many are done, ``on_error`` of photos that are left out. `GanencError` as of `Model.score`, if no photo
    can be read, or masks do not fit.
    """
    folder, found = Path(out), {} if masks is None else _masks(Path(masks), photos)
    names, failures = unique_names(photos), []
    rows: list[dict[str, Any]] = []
    shown: list[tuple[float, int, dict[str, Tensor]]] = []
    kept: list[tuple[Oddity, list[int], list[Tensor]]] = []

    def read() -> Iterator[tuple[int, Photo]]:
        for place, path in enumerate(photos):
            try:
                yield place, model.read(path, fit=calibration.fit, align=calibration.align)
            except ImageError as error:
                failures.append({"photo": str(path), "error": str(error)})
                if on_error is not None:
                    on_error(path, error)

    for batch in batches(read(), lambda: CHUNK):
        some = model.score([one for _, one in batch], calibration, false_alarms=false_alarms, features=features)
        some.save(folder / MAPS, [names[place] for place, _ in batch])
        for place, row in enumerate(some.rows):
            small = {
                name: shrink(depict(one, some.spec), THUMBNAIL).clone() for name, one in some.pictures(place).items()
            }
            shown.append((row["pred_score"], len(rows), small))
            rows.append(row)
        shown = heapq.nlargest(LISTED, shown, key=lambda one: one[:2])
        if truth is not None or masks is not None:
            known = [0 if truth is None else truth[place] for place, _ in batch]
            kept.append((some, known, [_mask(found.get(photos[place]), one) for place, one in batch]))
        if on_step is not None:
            on_step(batch[-1][0] + 1)
    if not rows:
        raise ImageError("None of the photos could be read.")
    measures = {}
    if kept:
        told = None if truth is None else [one for _, some, _ in kept for one in some]
        places = None if masks is None else torch.stack([one for *_, some in kept for one in some])
        measures = detection(Oddity.cat([one for one, *_ in kept]), told, places)
    page = scored_page(
        rows, {place: pictures for _, place, pictures in shown}, calibration, spec=model.generator.spec,
        false_alarms=false_alarms, measured=measures, failures=failures,
    )  # fmt: skip
    facts = {
        "model": model.source, "model_hash": model.hash, "false_alarms": false_alarms,
        "threshold": calibration.threshold(false_alarms),
        "map_threshold": calibration.threshold(false_alarms, maps=True),
        "odd": sum(row["pred_label"] for row in rows), "measures": measures, "photos": rows, "failures": failures,
    }  # fmt: skip
    write_json(folder / NUMBERS, facts)
    write_text(folder / PAGE, page)
    return facts


def _masks(folder: Path, photos: Sequence[Path]) -> dict[Path, Path]:
    """The masks of photos that have one: those in a folder below are of photos in a folder of that name."""
    if not folder.is_dir():
        raise ImageError(f"Masks are a folder of pictures with the photos' names; {folder} is none.")
    known = {(*one.parent.relative_to(folder).parts, one.stem.removesuffix("_mask")): one for one in find(folder)}
    found = {}
    for photo in photos:
        parts = photo.with_suffix("").parts
        for depth in sorted({len(key) for key in known}, reverse=True):
            if photo not in found and parts[-depth:] in known:
                found[photo] = known[parts[-depth:]]
    if not found:
        raise ImageError(f"No mask in {folder} has the name of a photo; give such as photo.png or photo_mask.png.")
    return found


def _mask(file: Path | None, photo: Photo) -> Tensor:
    """Where a photo is odd, bool (1, H, W)."""
    if file is None:
        return torch.zeros(1, *photo.target.shape[1:], dtype=torch.bool)
    mask, whole = decode(file), photo.source if isinstance(photo.source, Tensor) else decode(photo.source)  # type: ignore[arg-type]
    if not isinstance(mask, Image.Image) or not isinstance(whole, Image.Image) or mask.size != whole.size:
        raise ImageError(f"The mask {file} is to be a picture as large as its photo {photo.name}; it is not.")
    return photo.placed(ImageOps.invert(flatten(mask).convert("L"))) < 0.5
