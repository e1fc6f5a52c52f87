"""What the zoo reaches on the photos kept out: ``python -m ganenc_plugin_hands.figures --help``.

Each row goes to the model's ``figures.json`` as soon as it is measured, so a measurement that was stopped goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import ganenc
import torch
import typer
from ganenc import images
from ganenc.encoders import Encoder
from ganenc.files import write_json
from ganenc.generators import Generator
from ganenc.measures import build_metrics, score
from ganenc.models import model_hash, read_config
from ganenc.objectives import Backbone, context_for
from torch import Tensor

from ganenc_plugin_hands.models import MODELS, PHOTOS, ZOO

__all__ = ["figures", "kept_out", "measure", "one_pass", "table"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
FIGURES = "figures.json"
METHODS = ("mean image", "encode", "finetune", "optimize")
STEPS = 300
"""Steps of every method that has some, so that they can be compared."""
LABELS = {"encode": ("given", "predicted", "wrong"), "finetune": ("given", "wrong")}
"""With which classes the methods are measured, where classes matter; all others with the given ones."""

Row = dict[str, Any]


def main(
    models: Annotated[list[str] | None, typer.Option("--model", help="Only these models of the zoo.")] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Only these methods.")] = None,
    readme: Annotated[Path | None, typer.Option("--readme", help="Put the table between this file's marks.")] = None,
) -> None:
    """Measure every model of the zoo with every method on the twelve photos kept out, and print the table."""
    for model in models or MODELS:
        measure(model, methods or list(METHODS))
    text = f"{table()}\n{one_pass()}"
    typer.echo(text)
    if readme:
        before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
        readme.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def kept_out() -> tuple[Tensor, Tensor]:
    """The twelve photos (12, 3, 64, 64) in [-1, 1], and their digits int64 (12,)."""
    paths = images.find(PHOTOS)
    digits = torch.tensor([int(path.name[0]) for path in paths])
    return torch.stack([images.read(path, size=(64, 64)) for path in paths]), digits


def measure(model: str, methods: list[str]) -> None:
    """Measure a model of the zoo, leaving out what its ``figures.json`` has of these very weights.

    Args:
        model: its name.
        methods: ``mean image``, or names of inverters.
    """
    generator, encoder = ganenc.load_generator(model), ganenc.load_encoder(model)
    weights = [model_hash(generator)[:12], model_hash(encoder)[:12]]
    backbone = ganenc.load_backbone("hands")
    known = [row for row in figures(model) if row["weights"] == weights]
    for method in methods:
        for labels in LABELS.get(method, ("given",)) if generator.spec.classes else ("",):
            place = {"method": method, "labels": labels, "weights": weights}
            if any(place.items() <= row.items() for row in known):
                continue
            known.append(place | _figures(generator, encoder, backbone, method, labels))
            write_json(ZOO / model / FIGURES, known, replace=True)
            typer.echo(json.dumps(known[-1]), err=True)


def _figures(generator: Generator, encoder: Encoder, backbone: Backbone, method: str, labels: str) -> Row:
    """Means over the photos kept out, and seconds for each."""
    photos, digits = kept_out()
    if method == "mean image":
        made = generator.synthesize(generator.center(labels=digits if labels else None)).expand_as(photos)
        seconds = 0.0
    else:
        choice: Any = {"given": digits, "wrong": (digits + 5) % 10, "": None}.get(labels, labels)
        options = {} if method == "encode" else {"steps": STEPS}
        chosen = {"name": method, "options": options}
        done = ganenc.invert(photos, generator, encoder, chosen, labels=choice, objective={"backbone": "hands"})
        made, seconds = done.reconstructions, sum(done.seconds)
    metrics = build_metrics(context=context_for(backbone))
    rows = score(photos, made.detach(), metrics).rows
    means = {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}
    return means | {"seconds": round(seconds / len(rows), 3)}


def figures(model: str) -> list[Row]:
    """What was measured of a model."""
    path = ZOO / model / FIGURES
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return sorted(rows, key=lambda row: METHODS.index(row["method"]))


def table() -> str:
    """The figures of all models as Markdown."""
    lines = ["| model | method | PSNR | SSIM | lpips-hands | seconds each |", "|---|---|---|---|---|---|"]
    for model in MODELS:
        for row in figures(model):
            classes = f", class {row['labels']}" if row["labels"] else ""
            seconds = f"{row['seconds']:.2g}" if row["seconds"] else ""
            method = row["method"] if row["method"] == "mean image" else f"`{row['method']}`"
            numbers = f"{row['psnr']:.2f} dB | {row['ssim']:.3f} | {row['lpips-hands']:.3f} | {seconds}"
            lines.append(f"| {model} | {method}{classes} | {numbers} |")
    return "\n".join(lines) + "\n"


def one_pass() -> str:
    """What one pass of each shipped encoder reached when it was trained, as Markdown."""
    lines = ["| model | encoder | generated images (200) | photos kept out (12) |", "|---|---|---|---|"]
    for model in MODELS:
        for name in ("encoder-pretrained", "encoder"):
            info = read_config(ZOO / model / name)["info"]
            texts = [f"{info[of]['psnr']:.2f} dB, {info[of]['ssim']:.3f}" for of in ("generated", "photos")]
            lines.append(f"| {model} | `{name}` | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
