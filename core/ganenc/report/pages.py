"""Pages from templates, which escape all that they are given."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ganenc.images import Range
from ganenc.report.pictures import picture
from ganenc.report.texts import metric_name, metric_text, plain, seconds_text


def render(template: str, *, value_range: Range = (-1.0, 1.0), **data: Any) -> str:
    """Fill a template of this package; ``value_range`` is that of the images (C, H, W) among the data."""
    return _environment().get_template(template).render(data, picture=partial(picture, value_range=value_range))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "metric_name": metric_name,
        "metric_text": metric_text,
        "plain": plain,
        "quoted": partial(quote, errors="surrogateescape"),
        "seconds": seconds_text,
        "size": lambda image: f"{image.shape[-2]}x{image.shape[-1]}",
    }
    return made
