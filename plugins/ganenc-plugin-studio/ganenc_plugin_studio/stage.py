"""What on the page is our own, and worked on with the mouse: a picture's crop, points to be dragged and what may move;
and sliders."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from ganenc_registry.errors import SpecError
from PIL import Image

__all__ = ["FILES", "box_of", "build_sliders", "build_stage", "encoded", "marks_of", "move_of", "slid", "staged"]

FILES = Path(__file__).parent / "page_files"
MANY, POINTS = 100_000, 64
"""Letters of what is marked, and points among it."""


def build_stage(*, nothing: str = "", **options: Any) -> gr.HTML:
    """A picture with marks on it: its `value` is JSON, its ``picture`` an address, see ``page_files/stage.js``; where
    there is none, it says ``nothing``."""
    return _own("stage", picture="", nothing=nothing, **options)


def staged(marks: dict[str, Any] | None = None, picture: Image.Image | None = None) -> gr.HTML:
    """What brings a stage to other marks and another picture; by default to none."""
    address = ""
    if picture is not None:
        data, kind = encoded(picture)
        address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return gr.HTML(value="" if marks is None else json.dumps(marks), picture=address)


def build_sliders(**options: Any) -> gr.HTML:
    """Sliders: its `value` is JSON, see ``page_files/sliders.js``."""
    return _own("sliders", **options)


def slid(moves: Mapping[str, float], key: str) -> gr.HTML:
    """What brings sliders to other directions, and where they stand; by the ``key`` of a session they ask for its
    pictures."""
    return gr.HTML(value=json.dumps({"moves": [*moves.items()], "key": key}))


def encoded(picture: Image.Image) -> tuple[bytes, str]:
    """A picture that is quickly sent, and its media type."""
    buffer, kind = io.BytesIO(), "png" if max(picture.size) <= 256 else "jpeg"
    picture.save(buffer, kind, quality=88)
    return buffer.getvalue(), f"image/{kind}"


def move_of(value: str | None) -> tuple[str, float]:
    """The direction that a slider moved along, and how far; `SpecError` if it is no such thing."""
    match _read(value).get("moved"):
        case [str(name), int() | float() as far]:
            return name, float(far)
    raise SpecError("No slider was moved.")


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
    if len(points) > POINTS:
        raise SpecError(f"At most {POINTS} points are dragged at a time; these are {len(points)}.")
    if not points:
        raise SpecError("Nothing is marked: press on a point of the picture, and pull it to where it shall go.")
    return points, targets, _painted(strokes, size) if strokes else None


def _own(name: str, **options: Any) -> gr.HTML:
    html, css, js = ((FILES / f"{name}.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return gr.HTML("", html_template=html, css_template=css, js_on_load=js, **options)


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
