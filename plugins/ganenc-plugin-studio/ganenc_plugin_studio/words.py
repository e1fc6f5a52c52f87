"""What the page says, as HTML: every name and number in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ganenc import Model
from ganenc.editing import Explained
from ganenc.jobs import Attributed
from ganenc.report import Scored, duration, metric_name, metric_text, seconds_text

__all__ = [
    "attribution_text", "explanation_text", "model_text", "oddity_text", "progress_bar", "progress_end", "verdict_text",
]  # fmt: skip


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
    if not told["metrics"]:
        said = "This model has no encoder, so its mean image is shown: Refine inverts the photo."
        return f'<div class="told"><p>{said}</p></div>'
    parts, verdict, taken = [], told["verdict"], model.metrics()
    if verdict is not None:
        head = f'<span class="mark {escape(verdict.mark)}"></span>{escape(verdict.headline)}'
        parts.append(f'<div class="verdict">{head}</div><p>{escape(verdict.text)}</p>')
    rows = [(metric_name(name), metric_text(value, taken.get(name))) for name, value in told["metrics"].items()]
    if not any(name.startswith("lpips") for name in taken):
        rows.append(("LPIPS", "left out: no backbone for it is here"))
    rows += [(name, seconds_text(value) if name == "seconds" else str(value)) for name, value in told["facts"].items()]
    return f'<div class="told">{"".join(parts)}{_table(rows)}</div>'


def explanation_text(explained: Explained, target: int) -> str:
    """What a classifier goes by."""
    facts = explained.facts
    rows = [(name, f"{far:.2f} deviations") for name, far in explained.changes.items()]
    said = "is brought to say" if explained.flipped else "is not brought to say"
    head = f"The classifier {said} {target}: its probability goes from {facts['from']:.2f} to {facts['to']:.2f}."
    chance = facts["random_flipped"]
    alike = "" if chance is None else f" {chance:.0%} of random changes as long bring it to that, too."
    return f'<div class="told"><p>{escape(head + alike)}</p>{_table(rows)}</div>'


def oddity_text(scored: Scored) -> str:
    """How odd photos are."""
    rows = [
        (Path(row["photo"]).name, f"{row['pred_score']:.2f}, p {row['p_value']:.3f}{', odd' * row['pred_label']}")
        for row in scored.rows
    ]
    odd = sum(row["pred_label"] for row in scored.rows)
    head = f"{odd} of {len(rows)} photos are odd, above {scored.threshold:.2f}."
    return f'<div class="told"><p>{escape(head)}</p>{_table(rows)}</div>'


def attribution_text(attributed: Attributed) -> str:
    """Who made photos."""
    rows = []
    for one in attributed:
        by = "none of these" if one.verdict == "none" else Path(one.verdict).name
        each = [f"{Path(name).name} {error:.1f} dB, p {one.chances[name]:.3f}" for name, error in one.errors.items()]
        rows.append((Path(one.photo).name, f"made by {by}: {'; '.join(each)}"))
    return f'<div class="told">{_table(rows)}</div>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"
