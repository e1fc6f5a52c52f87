"""The page of one inversion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import PurePath
from typing import Any

from torch import Tensor

from ganenc.images import Range, draw_frame
from ganenc.measures import DomainCheck, judge
from ganenc.report.chart import curves_of, panels
from ganenc.report.figures import FEW_PIXELS, SMOOTH, amplification, difference, figure
from ganenc.report.page import facts, page, section, table

__all__ = ["SCALE", "ReportedPlace", "ReportedView", "inversion_report", "metric_text", "seconds_text"]

SCALE = (
    '<span class="choice"><label><input type="radio" name="scale" id="log" checked>logarithmic</label>'
    '<label><input type="radio" name="scale" id="linear">linear</label></span>'
)
VIEW_SIZE = 512
PICTURES = {"heat": "Heat map", "boxes": "Where it looks"}
"""The titles of pictures that are no views."""


@dataclass(frozen=True)
class ReportedView:
    """One view of the attention, or one picture of where it looks, of the target and of its reconstruction.

    Attributes:
        name: ``image``, ``at1``, ``at2``; ``heat`` or ``boxes`` of a picture.
        weight: of the view in the objective; None for a picture, which no loss sees.
        target: (C, H, W).
        reconstruction: (C, H, W).
    """

    name: str
    weight: float | None
    target: Tensor = field(repr=False)
    reconstruction: Tensor = field(repr=False)


@dataclass(frozen=True)
class ReportedPlace:
    """Where in its photo the target lies.

    Attributes:
        align: the name of the alignment.
        photo: the whole photo, (C, height, width).
        result: the same with the reconstruction in its place.
        corners: of the target in the photo, (x, y) each; see `ganenc.inversion.Transform.corners`.
    """

    align: str
    photo: Tensor = field(repr=False)
    result: Tensor = field(repr=False)
    corners: Sequence[tuple[float, float]]


def inversion_report(
    *,
    title: str,
    target: Tensor,
    reconstruction: Tensor,
    metrics: Mapping[str, float],
    value_range: Range = (-1.0, 1.0),
    metric_settings: Mapping[str, str] | None = None,
    views: Sequence[ReportedView] = (),
    place: ReportedPlace | None = None,
    history: Sequence[Mapping[str, float]] = (),
    check: DomainCheck | None = None,
    settings: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    model: str = "",
    model_hash: str = "",
) -> str:
    """One self-contained HTML page about one inversion; a pure function of its data.

    Args:
        title: what was inverted, such as the photo's file name.
        target: the image that was to be rebuilt, (C, H, W) in ``value_range``.
        reconstruction: what the generator makes of its latents, (C, H, W).
        metrics: what `ganenc.measures.metrics.evaluate_pairs` gives for the two.
        value_range: the values of black and white.
        metric_settings: how each metric was taken, as `ganenc.measures.metrics.metric_settings` says it.
        views: the views of the attention and where it looks; the whole image, shown anyway, is left out.
        place: where in its photo the target lies, where it was aligned.
        history: the terms of every step, as `ganenc.inversion.Inversion` holds them for one image.
        check: one pass of the encoder on generated images and on this one, where there is an encoder.
        settings: the settings of the method.
        seconds: how long the inversion took.
        model: the name of the model, its folder or file.
        model_hash: the hash of its weights.

    Returns:
        the page, as text.
    """
    numbers = {_title(name): metric_text(name, value) for name, value in metrics.items()}
    if seconds is not None:
        numbers["seconds"] = seconds_text(seconds)
    body = [
        _pictures(target, reconstruction, value_range),
        _place(place, value_range),
        _domain(check, metrics.get("psnr", math.nan), value_range),
        _views(views, value_range),
        section("Loss", panels(curves_of(history)), aside=SCALE if len(history) > 1 else ""),
        _metrics(metrics, metric_settings or {}),
        section("Settings", facts(_facts(settings or {}, seconds, model, model_hash, len(history)))),
    ]
    lead = f"Inverted with {PurePath(model).name}" if model else "Inverted"
    method = (settings or {}).get("method")
    return page(title, f"{lead} by the method {method}" if method else lead, numbers, body)


def metric_text(name: str, value: float) -> str:
    """A metric as text: PSNR in dB, the others with three digits."""
    if not math.isfinite(value):
        return "identical" if name == "psnr" and value > 0 else "not a number"
    return f"{value:.2f} dB" if name == "psnr" else f"{value:.3f}"


def seconds_text(seconds: float) -> str:
    """Seconds as text, to a tenth, or below one to a thousandth."""
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}"


def _title(name: str) -> str:
    first, _, rest = name.partition("-")
    return first.upper() + (f" ({rest})" if rest else "")


def _pictures(target: Tensor, reconstruction: Tensor, value_range: Range) -> str:
    factor = amplification(target, reconstruction, value_range=value_range)
    error = difference(target, reconstruction, factor=factor, value_range=value_range)
    height, width = target.shape[-2:]
    caption = "as it is" if factor == 1 else f"amplified {factor} times"
    figures = [
        figure(target, "Photo", f"as the generator sees it, {height}x{width}", value_range=value_range),
        figure(reconstruction, "Reconstruction", "from the saved latents", value_range=value_range),
        figure(error, "Difference", f"absolute, {caption}", value_range=(0.0, 1.0)),
    ]
    few = max(height, width) < FEW_PIXELS
    return section("Images", f'<div class="grid">{"".join(figures)}</div>', aside=SMOOTH if few else "")


def _place(place: ReportedPlace | None, value_range: Range) -> str:
    if place is None:
        return ""
    framed = draw_frame(place.photo, place.corners, value_range)
    height, width = place.photo.shape[-2:]
    figures = [
        figure(framed, "Whole photo", f"{height}x{width}, aligned by {place.align}", value_range=(0.0, 255.0)),
        figure(place.result, "Put back", "the reconstruction in its place", value_range=value_range),
    ]
    return section("In its place", f'<div class="grid">{"".join(figures)}</div>')


def _domain(check: DomainCheck | None, final: float, value_range: Range) -> str:
    if check is None:
        return ""
    verdict = judge(check, final)
    words = (
        f'<div class="verdict {verdict.mark}"><p><strong>{escape(verdict.headline)}</strong></p>'
        f"<p>{escape(verdict.text)}</p></div>"
    )
    rows = [
        (f"{check.baseline.count} generated images, one pass", check.baseline.psnr, "generated"),
        ("This photo, one pass", check.photo_psnr, "photo"),
        ("This photo, as reported", final, "final"),
        ("This photo and the mean image", check.photo_mean_psnr, "mean"),
    ]
    top = max((value for _, value, _ in rows if math.isfinite(value)), default=1.0)
    bars = "".join(
        f'<span>{escape(name)}</span><div class="bar"><i class="{kind}" style="width:{_share(value, top):.1f}%"></i>'
        f"<span>{escape(metric_text('psnr', value))}</span></div>"
        for name, value, kind in rows
    )
    examples = [
        figure(check.baseline.image, "Generated image", value_range=value_range, limit=VIEW_SIZE),
        figure(check.baseline.reconstruction, "Rebuilt", "in one pass", value_range=value_range, limit=VIEW_SIZE),
        figure(check.baseline.mean_image, "Mean image", "of the generator", value_range=value_range, limit=VIEW_SIZE),
    ]
    pictures = f'<div class="grid small" style="margin-top:20px">{"".join(examples)}</div>'
    return section("Photo or encoder?", words, f'<div class="bars">{bars}</div>', pictures)


def _share(value: float, top: float) -> float:
    """The length of a bar, in percent, with room left for its number."""
    return 80.0 * max(0.0, min(value, top)) / top if top > 0 and value == value else 0.0


def _views(views: Sequence[ReportedView], value_range: Range) -> str:
    figures = []
    for view in views:
        if view.name == "image":
            continue
        text = "" if view.weight is None else f"weight {view.weight:g}"
        for picture, whose in ((view.target, "photo"), (view.reconstruction, "reconstruction")):
            name = f"{PICTURES.get(view.name, view.name.upper())}, {whose}"
            figures.append(figure(picture, name, text, value_range=value_range, limit=VIEW_SIZE))
    note = (
        '<p class="note">Where the attention looks, and what the losses see besides the whole image, alike in the photo'
        " and the reconstruction.</p>"
    )
    grid = f'<div class="grid small">{"".join(figures)}</div>' if figures else ""
    return section("Views of the attention", note + grid if grid else "")


def _metrics(metrics: Mapping[str, float], settings: Mapping[str, str]) -> str:
    rows = [
        (escape(_title(name)), escape(metric_text(name, value)), escape(settings.get(name, "")))
        for name, value in metrics.items()
    ]
    return section("Metrics", table(["metric", "value", "taken with"], rows, numeric=[1]) if rows else "")


def _facts(
    settings: Mapping[str, Any], seconds: float | None, model: str, model_hash: str, steps: int
) -> dict[str, object]:
    found: dict[str, object] = {"model": model} if model else {}
    if model_hash:
        found["hash of its weights"] = model_hash
    if seconds is not None:
        found["time"] = f"{seconds:.1f} s" + (f", {steps / seconds:.1f} steps a second" if steps and seconds else "")
    return {**found, **settings}
