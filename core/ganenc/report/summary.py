"""The pages of many inversions and of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.images import Range
from ganenc.measures import mean_std
from ganenc.report.chart import curves_of, panels
from ganenc.report.figures import image, png_figure
from ganenc.report.inversion import SCALE, metric_text, seconds_text
from ganenc.report.page import facts, page, section, table

__all__ = ["THUMBNAIL", "ReportedPhoto", "Totals", "run_report", "summary_report"]

THUMBNAIL = 128
"""Pixels of the longer side of a picture in a summary."""
ATTENTION = "the first targets, each with its reconstruction below, and what the losses see of both"


@dataclass(frozen=True)
class ReportedPhoto:
    """One row of a summary.

    Attributes:
        name: the photo's name.
        metrics: its metrics by name.
        seconds: how long its inversion took.
        target: the image that was to be rebuilt, (C, H, W), or None where there was none.
        reconstruction: what came of it, (C, H, W).
        link: the address of its own page, relative to the summary; empty if it has none.
        label: the class that it was taken to be of and how that came; empty where there are no classes.
    """

    name: str
    metrics: Mapping[str, float]
    seconds: float
    target: Tensor | None = field(default=None, repr=False)
    reconstruction: Tensor | None = field(default=None, repr=False)
    link: str = ""
    label: str = ""


@dataclass(frozen=True)
class Totals:
    """Numbers over many photos, of which a page shows some.

    Attributes:
        inverted: how many photos were.
        failed: how many could not be.
        means: the mean of every metric.
        seconds: the mean time of a photo.
    """

    inverted: int
    failed: int
    means: Mapping[str, float]
    seconds: float

    @classmethod
    def of(cls, photos: Sequence[ReportedPhoto], failed: int = 0) -> Totals:
        """Of these photos alone."""
        names = list(dict.fromkeys(name for photo in photos for name in photo.metrics))
        means = {name: mean_std([p.metrics[name] for p in photos if name in p.metrics])[0] for name in names}
        return cls(len(photos), failed, means, mean_std([photo.seconds for photo in photos])[0])


def summary_report(
    *,
    title: str,
    photos: Sequence[ReportedPhoto],
    totals: Totals | None = None,
    failures: Sequence[tuple[str, str]] = (),
    baseline: Mapping[str, float] | None = None,
    value_range: Range = (-1.0, 1.0),
    settings: Mapping[str, Any] | None = None,
    metric_settings: Mapping[str, str] | None = None,
) -> str:
    """One self-contained HTML page about many inversions; a pure function of its data.

    Args:
        title: what was done.
        photos: one row each.
        totals: over all photos, where more were inverted, or failed, than are given here.
        failures: photos that could not be inverted, with the reason.
        baseline: the metrics of the mean image against the same photos, for comparison.
        value_range: the values of black and white.
        settings: the settings of the method.
        metric_settings: how each metric was taken.

    Returns:
        the page, as text.
    """
    totals = totals or Totals.of(photos, len(failures))
    names = list(totals.means)
    numbers = {f"mean {name}": metric_text(name, value) for name, value in totals.means.items()}
    if photos:
        numbers["seconds a photo"] = seconds_text(totals.seconds)
    classes = ["class"] if any(photo.label for photo in photos) else []
    rows = [
        [_name(p), *([escape(p.label)] * len(classes)), _pictures(p, value_range), *_cells(p.metrics, names),
         seconds_text(p.seconds)]
        for p in photos
    ]  # fmt: skip
    blank = [""] * (1 + len(classes))
    if baseline:
        rows.append(['<span class="soft">mean image</span>', *blank, *_cells(baseline, names), ""])
    last = ["mean", *blank, *_cells(totals.means, names), ""]
    head = ["photo", *classes, "photo, reconstruction", *names, "seconds"]
    numeric = range(1 + len(blank), len(head))
    lost = [(escape(name), escape(reason)) for name, reason in failures]
    body = [
        section(
            "Photos",
            _shown(photos, totals.inverted, "The {} of lowest PSNR; the means are of all."),
            table(head, rows, numeric=numeric, last=last) if photos else "",
        ),
        section(
            "Left out",
            _shown(failures, totals.failed, "The first {}."),
            table(["photo", "reason"], lost) if lost else "",
        ),
        section("How the metrics are taken", facts(metric_settings or {})),
        section("Settings", facts(settings or {})),
    ]
    lead = f"{totals.inverted:,} inverted" + (f", {totals.failed:,} failed" if totals.failed else "")
    return page(title, lead, numbers, body)


def run_report(
    *,
    title: str,
    run: RunSpec,
    history: Sequence[Mapping[str, float]],
    grids: Sequence[tuple[str, bytes]] = (),
    attention: bytes | None = None,
    results: Mapping[str, float] | None = None,
    seconds: float | None = None,
    stopped: str = "",
    generator_hash: str = "",
) -> str:
    """One self-contained HTML page about one run; a pure function of its data.

    Args:
        title: what was trained.
        run: the resolved spec.
        history: the rows of ``metrics.jsonl``: ``step``, every term by name, and what else was logged.
        grids: sample grids as (caption, bytes of a PNG file), the newest last.
        attention: where the attention looks, as the bytes of a PNG file.
        results: what to show at the top, such as the metrics at the end.
        seconds: how long the run has taken.
        stopped: why the run ended early, if it did.
        generator_hash: the hash of the generator's weights.

    Returns:
        the page, as text.
    """
    last = next((row for row in reversed(history) if "total" in row), {})
    done = int(last.get("step", 0))
    numbers = {"steps": f"{done:,} of {run.steps:,}"}
    numbers.update({name: metric_text(name, value) for name, value in (results or {}).items()})
    if last:
        numbers["loss at the end"] = f"{last['total']:.4g}"
    if seconds is not None:
        numbers["time"] = duration(seconds)
    ignore = ("step", "rate", "rate_factor", "returned_to_good_state")
    shown = [*grids[:1], *grids[-1:]] if len(grids) > 1 else list(grids)
    pictures = "".join(png_figure(png, caption) for caption, png in shown)
    known: dict[str, object] = {"generator": run.generator, "task": run.task, "device": run.device, "seed": run.seed}
    if generator_hash:
        known["hash of the generator's weights"] = generator_hash
    if stopped:
        known["ended early"] = stopped
    body = [
        section("Samples", f'<div class="grid">{pictures}</div>' if pictures else ""),
        section("Where the attention looks", "" if attention is None else png_figure(attention, ATTENTION)),
        section("Loss", panels(curves_of(history, ignore=ignore)), aside=SCALE if len(history) > 1 else ""),
        section("Settings", facts(known), _spec(run)),
    ]
    return page(title, f"Encoder for {run.generator or 'a generator'}, task {run.task}", numbers, body)


def duration(seconds: float) -> str:
    """Seconds as a short text, such as ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _shown(shown: Sequence[object], total: int, text: str) -> str:
    """What is shown, where that is not all."""
    return "" if len(shown) == total else f'<p class="soft">{text.format(len(shown))}</p>'


def _spec(run: RunSpec) -> str:
    summary = "<summary>The whole spec, which reproduces the run</summary>"
    return f"<details>{summary}<pre>{escape(run.to_yaml())}</pre></details>"


def _name(photo: ReportedPhoto) -> str:
    name = escape(photo.name)
    return f'<a href="{quote(photo.link, errors="surrogateescape")}">{name}</a>' if photo.link else name


def _pictures(photo: ReportedPhoto, value_range: Range) -> str:
    pair = [(photo.target, "photo"), (photo.reconstruction, "reconstruction")]
    shown = [image(p, alt, value_range=value_range, limit=THUMBNAIL) for p, alt in pair if p is not None]
    return f'<div class="pair">{"".join(shown)}</div>'


def _cells(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [escape(metric_text(name, metrics[name])) if name in metrics else "" for name in names]
