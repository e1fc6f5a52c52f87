"""The tables and curves of the inversion study."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _common import table
from _study import Setting
from _svg import curves

__all__ = ["CURVE_POINTS", "first_of_each", "report"]

CURVE_POINTS = 40
"""Equal steps of time at which a curve is kept."""
CHECKPOINTS = (0.1, 0.25, 0.5, 1.0)
"""Shares of the time at which the table shows how far a setting had come."""


def first_of_each(ranked: Sequence[Setting], count: int = 1) -> list[Setting]:
    """The first ``count`` settings of each method, in their order."""
    taken: dict[str, int] = {}
    kept = []
    for one in ranked:
        taken[one.method] = taken.get(one.method, 0) + 1
        if taken[one.method] <= count:
            kept.append(one)
    return kept


def report(
    done: Mapping[Setting, Mapping[str, Mapping[str, Any]]],
    photos: Sequence[str],
    seconds: float,
    note: str,
    picture: Path | None,
) -> str:
    """Tables of means over the photos that every setting with a result has done, the best first.

    Args:
        done: for each setting the records of its inversions by photo.
        photos: of the study.
        seconds: for each photo.
        note: a line on what it was measured with.
        picture: where the curves are drawn, if they are.
    """
    begun = {one: rows for one, rows in done.items() if any(photo in rows for photo in photos)}
    common = [photo for photo in photos if begun and all(photo in rows for rows in begun.values())]
    if not common:
        return "No photo is done by every setting yet."
    results = {one: [rows[photo] for photo in common] for one, rows in begun.items()}
    ranked = sorted(results, key=lambda one: -_mean(results[one], "psnr"))
    leaders = first_of_each(ranked)
    along = {one: _mean_curve([row["curve"] for row in results[one]]) for one in leaders}
    parts = [f"{len(common)} photos, {seconds:g} seconds each. {note}", _table_of_leaders(along, seconds)]
    if picture:
        lines = {
            one.name: [(seconds * (i + 1) / CURVE_POINTS, value) for i, value in enumerate(curve) if value is not None]
            for one, curve in along.items()
        }
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(curves(lines, across="seconds a photo", up="PSNR, dB"), encoding="utf-8")
        parts.append(f"![PSNR by time, of the best setting of each method]({picture.name})")
    return "\n\n".join([*parts, _table_of_all({one: results[one] for one in ranked})])


def _table_of_leaders(along: Mapping[Setting, Sequence[float | None]], seconds: float) -> str:
    places = [round(share * CURVE_POINTS) - 1 for share in CHECKPOINTS]
    rows = [(f"`{one.name}`", *(_short(curve[place]) for place in places)) for one, curve in along.items()]
    return table(["best of its method, PSNR at", *(f"{share * seconds:g} s" for share in CHECKPOINTS)], rows)


def _table_of_all(results: Mapping[Setting, Sequence[Mapping[str, Any]]]) -> str:
    rows = [
        (
            f"`{one.name}`",
            f"{_mean(found, 'psnr'):.2f}",
            f"{_mean(found, 'ssim'):.4f}",
            "+".join(str(count) for count in found[0]["steps"] if count) or "0",
            f"{statistics.median(row['spent'] for row in found):.1f}",
        )
        for one, found in results.items()
    ]
    return table(["setting", "PSNR", "SSIM", "steps", "seconds spent"], rows)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Point by point; None where one of the curves has none yet."""
    means: list[float | None] = []
    for points in zip(*curves, strict=True):
        known = [point for point in points if point is not None]
        means.append(statistics.fmean(known) if len(known) == len(points) else None)
    return means


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
