"""Pages from templates, which escape all that they are given."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ganenc_registry.specs import GeneratorSpec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ganenc.report.pictures import picture
from ganenc.report.texts import metric_name, metric_text, plain, seconds_text


def render(template: str, *, spec: GeneratorSpec | None = None, **data: Any) -> str:
    """Fill a template of this package; images (C, H, W) in the data are of the generator of ``spec``, or of 8 bits."""
    return _environment().get_template(template).render(data, picture=partial(picture, spec=spec))


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
