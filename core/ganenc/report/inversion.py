"""The page of one inversion, and what a notebook shows of some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from torch import Tensor

from ganenc.images import Range, draw_frame, to_uint8
from ganenc.measures import PSNR, DomainCheck, Metric, judge, psnr
from ganenc.objectives import Look
from ganenc.report.chart import curves_of, panels
from ganenc.report.pages import render
from ganenc.report.pictures import FEW_PIXELS, amplification, difference
from ganenc.report.texts import metric_name, metric_text, seconds_text


@dataclass(frozen=True)
class ReportedPlace:
    """Where in its photo the target lies."""

    align: str
    """The name of the alignment."""
    photo: Tensor = field(repr=False)
    """The whole photo, (C, height, width)."""
    result: Tensor = field(repr=False)
    """The same with the reconstruction in its place."""
    corners: Sequence[tuple[float, float]]
    """Of the target in the photo, (x, y) each; see `ganenc.inversion.Transform.corners`."""


def inversion_report(
    *,
    title: str,
    target: Tensor,
    reconstruction: Tensor,
    metrics: Mapping[str, float],
    value_range: Range = (-1.0, 1.0),
    taken: Mapping[str, Metric] | None = None,
    looks: Sequence[Look] = (),
    place: ReportedPlace | None = None,
    history: Sequence[Mapping[str, float]] = (),
    check: DomainCheck | None = None,
    settings: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    model: str = "",
    model_hash: str = "",
) -> str:
    """One self-contained HTML page about one inversion; a pure function of its data.

    ``target`` and ``reconstruction`` are (C, H, W) in ``value_range``, and ``metrics`` theirs by name; ``taken`` are
    the metrics themselves, for their units and how they were taken. ``looks`` says where the attention looks in this
    one image (the whole, shown anyway, is left out), ``place`` where in its photo the target lies if aligned,
    ``history`` the terms of every step, ``check`` one pass of the encoder on generated images and on this one,
    ``settings`` those of the method, ``model`` its name, folder or file, ``model_hash`` that of its weights.
    """
    settings = settings or {}
    taken = taken or {}
    numbers = {metric_name(name): metric_text(value, taken.get(name)) for name, value in metrics.items()}
    known: dict[str, object] = {"model": model} if model else {}
    if model_hash:
        known["hash of its weights"] = model_hash
    if seconds is not None:
        numbers["seconds"] = seconds_text(seconds)
        speed = f", {len(history) / seconds:.1f} steps a second" if history and seconds else ""
        known["time"] = f"{seconds:.1f} s{speed}"
    final = psnr(target[None], reconstruction[None], value_range=value_range)[0]
    return render(
        "inversion.html",
        title=title,
        numbers=numbers,
        value_range=value_range,
        model=PurePath(model).name,
        few=max(target.shape[-2:]) < FEW_PIXELS,
        **_compared(target, reconstruction, value_range),
        place=place,
        framed=None if place is None else draw_frame(place.photo, place.corners, value_range),
        check=check,
        verdict=None if check is None else judge(check, final),
        bars=[] if check is None else _bars(check, final),
        looks=[look for look in looks if look.name != "image"],
        panels=panels(curves_of(history)),
        metrics=metrics,
        taken=taken,
        settings=settings,
        facts_shown={**known, **settings},
    )


def notebook_pictures(
    names: Sequence[str],
    targets: Sequence[Tensor],
    reconstructions: Sequence[Tensor],
    metrics: Sequence[Mapping[str, float]],
    taken: Mapping[str, Metric],
    value_range: Range = (-1.0, 1.0),
) -> str:
    """Photos, (C, H, W) each, beside what came of them and the differences, as HTML for a cell of a notebook."""
    rows = [
        {
            "name": name,
            "numbers": ", ".join(
                f"{metric_name(key)} {metric_text(value, taken.get(key))}" for key, value in numbers.items()
            ),
            **_compared(target, made, value_range),
        }
        for name, target, made, numbers in zip(names, targets, reconstructions, metrics, strict=True)
    ]
    return render("notebook.html", rows=rows, value_range=value_range)


def _compared(target: Tensor, reconstruction: Tensor, value_range: Range) -> dict[str, Any]:
    factor = amplification(target, reconstruction, value_range=value_range)
    error = difference(target, reconstruction, factor=factor, value_range=value_range)
    return {
        "target": target,
        "reconstruction": reconstruction,
        "difference": to_uint8(error, (0.0, 1.0)),
        "factor": factor,
    }


def _bars(check: DomainCheck, final: float) -> list[tuple[str, str, str, float]]:
    """Bars by name: a PSNR, its kind, and the bar's length in percent."""
    rows = [
        (f"{check.baseline.count} generated images, one pass", check.baseline.psnr, "generated"),
        ("This photo, one pass", check.photo_psnr, "photo"),
        ("This photo, as reported", final, "final"),
        ("This photo and the mean image", check.photo_mean_psnr, "mean"),
    ]
    top = max((value for _, value, _ in rows if math.isfinite(value)), default=1.0)
    return [(name, metric_text(value, PSNR), kind, _share(value, top)) for name, value, kind in rows]


def _share(value: float, top: float) -> float:
    """The length of a bar, in percent, with room left for its number."""
    return round(80.0 * max(0.0, min(value, top)) / top, 1) if top > 0 and value == value else 0.0
