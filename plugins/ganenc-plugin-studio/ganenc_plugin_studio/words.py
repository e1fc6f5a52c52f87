"""What the page says, as HTML: every name and number in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ganenc import Model
from ganenc.report import duration, metric_name, metric_text, seconds_text

__all__ = ["model_text", "progress_bar", "verdict_text"]


def model_text(model: Model) -> str:
    """A model in a line."""
    spec = model.generator.spec
    told = [
        spec.family,
        " x ".join(map(str, spec.size[::-1])) + " pixels",
        "with its encoder" if model.encoder is not None else "without encoder",
        *([f"{spec.classes} classes"] if spec.classes else []),
        f"licence {spec.licence or 'unknown'}",
    ]
    return f'<div class="told"><p>{escape(", ".join(told))}</p></div>'


def progress_bar(step: int, steps: int, left: float) -> str:
    """How far long work is."""
    share = 100 * step / max(steps, 1)
    return (
        f'<div class="progress"><div class="bar"><i style="width: {share:.1f}%"></i></div>'
        f"<p>Step {step} of {steps}, {escape(duration(left))} left</p></div>"
    )


def progress_end(text: str) -> str:
    """That long work is over."""
    return f'<div class="progress"><p>{escape(text)}</p></div>'


def verdict_text(told: Mapping[str, Any], model: Model) -> str:
    """Whether the photo or the encoder is at fault, and the metrics."""
    if not told:
        return ""
    parts, verdict, taken = [], told["verdict"], model.metrics()
    if verdict is not None:
        head = f'<span class="mark {escape(verdict.mark)}"></span>{escape(verdict.headline)}'
        parts.append(f'<div class="verdict">{head}</div><p>{escape(verdict.text)}</p>')
    rows = [(metric_name(name), metric_text(value, taken.get(name))) for name, value in told["metrics"].items()]
    rows += [(name, seconds_text(value) if name == "seconds" else str(value)) for name, value in told["facts"].items()]
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<div class="told">{"".join(parts)}<table>{cells}</table></div>'
