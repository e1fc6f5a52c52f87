"""The page of many inversions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ganenc.images import Range
from ganenc.measures import Metric
from ganenc.report.pages import render
from ganenc.report.texts import metric_name, metric_text, seconds_text

THUMBNAIL = 128
"""Pixels of the longer side of a picture in a summary."""


@dataclass(frozen=True)
class ReportedPhoto:
    """One row of a summary."""

    name: str
    metrics: Mapping[str, float]
    seconds: float
    target: Tensor | None = field(default=None, repr=False)
    """The image that was to be rebuilt, (C, H, W), or None where there was none."""
    reconstruction: Tensor | None = field(default=None, repr=False)
    link: str = ""
    """The address of its own page, relative to the summary; empty if it has none."""
    label: str = ""
    """The class that it was taken to be of and how that came; empty where there are no classes."""


@dataclass(frozen=True)
class Totals:
    """Numbers over many photos, of which a page shows some: how many, the means of the metrics, the mean time."""

    inverted: int
    failed: int
    means: Mapping[str, float]
    seconds: float


def summary_report(
    *,
    title: str,
    photos: Sequence[ReportedPhoto],
    totals: Totals,
    failures: Sequence[tuple[str, str]] = (),
    baseline: Mapping[str, float] | None = None,
    value_range: Range = (-1.0, 1.0),
    settings: Mapping[str, Any] | None = None,
    metric_settings: Mapping[str, str] | None = None,
    taken: Mapping[str, Metric] | None = None,
) -> str:
    """One self-contained HTML page about many inversions, a row each; a pure function of its data.

    ``totals`` are over all photos, also where more were inverted, or failed, than are given here; ``failures`` have the
    reason; ``baseline`` are the metrics of the mean image against the same photos; ``settings`` those of the method,
    ``metric_settings`` how each metric was taken, by name, and ``taken`` the metrics themselves, for their units.
    """
    taken = taken or {}
    numbers = {f"mean {metric_name(key)}": metric_text(mean, taken.get(key)) for key, mean in totals.means.items()}
    return render(
        "summary.html",
        title=title,
        numbers={**numbers, **({"seconds a photo": seconds_text(totals.seconds)} if photos else {})},
        value_range=value_range,
        totals=totals,
        photos=photos,
        classes=any(photo.label for photo in photos),
        thumbnail=THUMBNAIL,
        baseline=baseline,
        failures=failures,
        metric_settings={metric_name(name): how for name, how in (metric_settings or {}).items()},
        taken=taken,
        settings=settings or {},
    )
