"""A picture on the page that is worked on with the mouse: its crop, or points to be dragged and what may move."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from ganenc_registry.errors import SpecError
from PIL import Image

__all__ = ["FILES", "address", "box_of", "build_stage", "marks_of", "staged"]

FILES = Path(__file__).parent / "page_files"
MANY = 100_000


def build_stage(*, nothing: str = "", **options: Any) -> gr.HTML:
    """A picture with marks on it: its `value` is JSON, its ``picture`` an address, see ``page_files/stage.js``; where
    there is none, it says ``nothing``."""
    html, css, js = ((FILES / f"stage.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return gr.HTML("", html_template=html, css_template=css, js_on_load=js, picture="", nothing=nothing, **options)


def staged(marks: dict[str, Any] | None = None, picture: str = "") -> gr.HTML:
    """What brings a stage to other marks and another picture; by default to none."""
    return gr.HTML(value="" if marks is None else json.dumps(marks), picture=picture)


def address(picture: Image.Image, *, largest: int = 0) -> str:
    """A picture as an address that holds it, made smaller where it is larger than ``largest``."""
    if largest and max(picture.size) > largest:
        picture = picture.copy()
        picture.thumbnail((largest, largest))
    buffer = io.BytesIO()
    small = max(picture.size) <= 256
    picture.save(buffer, "PNG" if small else "JPEG", **({} if small else {"quality": 88}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def box_of(value: str | None) -> list[float]:
    """The crop that is marked: top, left, height and width; `SpecError` if there is none."""
    box = _read(value).get("box")
    if not _numbers(box, 4):
        raise SpecError('A crop is marked as {"box": [top, left, height, width]}, in pixels of the photo.')
    return [float(one) for one in box]


def marks_of(value: str | None, size: tuple[int, int]) -> tuple[list[list[float]], list[list[float]], Any]:
    """Points, their targets, and what may move in an image of ``size``, bool (H, W), or None if nothing is painted;
    `SpecError` if there are no points, or they cannot be read."""
    marks = _read(value)
    points, targets, strokes = (marks.get(name) or [] for name in ("points", "targets", "strokes"))
    pairs = all(isinstance(some, list) and all(_numbers(one, 2) for one in some) for some in (points, targets))
    if not pairs or not isinstance(strokes, list) or not all(_numbers(one, 3) for one in strokes):
        raise SpecError(
            'Points are marked as {"points": [[x, y], ...], "targets": [...], "strokes": [[x, y, radius]]}.'
        )
    if not points:
        raise SpecError("Nothing is marked: press on a point of the picture, and pull it to where it shall go.")
    return points, targets, _painted(strokes, size) if strokes else None


def _painted(strokes: list[list[float]], size: tuple[int, int]) -> Any:
    ys, xs = np.mgrid[: size[0], : size[1]]
    painted = np.zeros(size, dtype=bool)
    for x, y, radius in strokes:
        painted |= (xs - x) ** 2 + (ys - y) ** 2 <= radius**2
    return painted


def _read(value: str | None) -> dict[str, Any]:
    try:
        found = json.loads(value or "{}") if len(value or "") <= MANY else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SpecError("What is marked on the picture cannot be read; mark it anew.")
    return found


def _numbers(given: object, count: int) -> bool:
    return (
        isinstance(given, list) and len(given) == count
        and all(isinstance(one, int | float) and math.isfinite(one) for one in given)
    )  # fmt: skip
