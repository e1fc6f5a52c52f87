"""What the zoo reaches on the photos kept out: ``python -m ganenc_plugin_hands.figures --help``.

Each row is written to ``zoo/figures.json`` as soon as it is measured, so a measurement that was stopped goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import ganenc
import torch
import typer
from ganenc import images, metrics
from ganenc.atomic import write_json, write_text
from ganenc.backbones import Backbone
from ganenc.encoder import Encoder
from ganenc.generator import Generator
from ganenc.models import model_hash, read_config
from torch import Tensor

from ganenc_plugin_hands.models import FIGURES, MODELS, PHOTOS, ZOO

__all__ = ["kept_out", "measure", "one_pass", "table"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
METHODS = ("mean image", "encode", "finetune", "optimize", "finetune+refine")
LABELS = {"encode": ("given", "predicted"), "finetune": ("given", "predicted", "wrong")}
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
    text = f"{table(json.loads(FIGURES.read_text()))}\n{one_pass()}"
    typer.echo(text)
    if readme:
        before, rest = readme.read_text().split(BEGIN)
        write_text(readme, f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}")


def kept_out() -> tuple[Tensor, Tensor]:
    """The twelve photos (12, 3, 64, 64) in [-1, 1], and their digits int64 (12,)."""
    paths = images.find(PHOTOS)
    digits = torch.tensor([int(path.name[0]) for path in paths])
    return torch.stack([images.read(path, size=(64, 64)) for path in paths]), digits


def measure(model: str, methods: list[str]) -> None:
    """Measure a model of the zoo, leaving out what ``zoo/figures.json`` has of these very weights.

    Args:
        model: its name.
        methods: ``mean image``, or names of inverters, with their default settings.
    """
    generator, encoder = ganenc.load_generator(model), ganenc.load_encoder(model)
    weights = [model_hash(generator)[:12], model_hash(encoder)[:12]]
    backbone = ganenc.load_backbone("hands")
    known: list[Row] = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    known = [row for row in known if row["model"] != model or row["weights"] == weights]
    for method in methods:
        for labels in LABELS.get(method, ("given",)) if generator.spec.classes else ("",):
            place = {"model": model, "method": method, "labels": labels, "weights": weights}
            if any(place.items() <= row.items() for row in known):
                continue
            known.append(place | _figures(generator, encoder, backbone, method, labels))
            write_json(FIGURES, known)
            typer.echo(json.dumps(known[-1]), err=True)


def _figures(generator: Generator, encoder: Encoder, backbone: Backbone, method: str, labels: str) -> Row:
    """Means over the photos kept out, and seconds for each."""
    photos, digits = kept_out()
    rows, seconds = [], 0.0
    for photo, digit in zip(photos.split(1), digits.split(1)):
        if method == "mean image":
            given = digit if labels else None
            made = generator.synthesize(generator.center(labels=given))
        else:
            choice: Any = {"given": digit, "wrong": (digit + 5) % 10, "": None}.get(labels, labels)
            done = ganenc.invert(photo, generator, encoder, method=method, labels=choice, backbone="hands")
            made, seconds = done.reconstructions, seconds + sum(done.seconds)
        rows += metrics.evaluate_pairs(photo, made.detach(), backbone=backbone)
    means = {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}
    return means | {"seconds": round(seconds / len(rows), 3)}


def table(rows: list[Row]) -> str:
    """The rows as Markdown: models in the zoo's order, then methods; classes in words where they matter."""
    lines = ["| model | method | PSNR | SSIM | lpips-hands | seconds each |", "|---|---|---|---|---|---|"]

    def order(row: Row) -> tuple[int, int]:
        return MODELS.index(row["model"]), METHODS.index(row["method"])

    for row in sorted(rows, key=order):
        classes = f", class {row['labels']}" if row["labels"] else ""
        seconds = f"{row['seconds']:.2g}" if row["seconds"] else ""
        method = row["method"] if row["method"] == "mean image" else f"`{row['method']}`"
        figures = f"{row['psnr']:.2f} dB | {row['ssim']:.3f} | {row['lpips-hands']:.3f} | {seconds}"
        lines.append(f"| {row['model']} | {method}{classes} | {figures} |")
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
