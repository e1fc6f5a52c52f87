"""``ganenc generate``: images from a generator's prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc import images
from ganenc.cli.console import Bar, emit, show
from ganenc.cli.options import Device, Json, Labels, Model, Out, Seed, integers
from ganenc.cli.session import Session, open_session
from ganenc.latents import Latents

__all__ = ["generate"]

LARGEST_GRID = 64


def generate(
    *,
    model: Model,
    out: Out,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many images.")] = 8,
    seed: Seed = 0,
    truncation: Annotated[
        float, typer.Option("--truncation", min=0, help="Below 1 for images nearer to the mean.")
    ] = 1.0,
    labels: Labels = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Draw images from a generator: PNG files, a grid of them, and the latents that make them again."""
    session = open_session(model, device=device, seek_encoder=False)
    if truncation != 1.0 and session.generator.spec.truncation == "none":
        raise SpecError(f"{model} has no truncation; leave --truncation out.")
    given = integers(labels)
    latents, made = _draw(session, n, seed, truncation, None if given is None else session.labels(given, n), out)
    written = _finish(session, latents, made, out)
    facts = {
        "model": model,
        "model_hash": session.hash,
        "n": n,
        "seed": seed,
        "truncation": truncation,
        "labels": given,
    }
    if as_json:
        emit({**facts, **written})
    else:
        show(f"{n} images and their latents are in {out}; all in one: {written['grid']}")


def _draw(
    session: Session, n: int, seed: int, truncation: float, labels: Tensor | None, out: Path
) -> tuple[list[Latents], list[Tensor]]:
    """Draw and write the images one by one, so that their latents make the same pixels one by one again."""
    generator = session.generator
    latents: list[Latents] = []
    made: list[Tensor] = []
    with Bar("generating", n) as bar, torch.no_grad():
        for index in range(n):
            label = None if labels is None else labels[index : index + 1]
            one = generator.sample(1, seed=seed, first=index, labels=label, truncation=truncation)
            one = generator.complete(one)
            image = generator.synthesize(one)
            images.write_png(out / f"{index:04d}.png", image[0], value_range=generator.spec.value_range)
            latents.append(one.to("cpu"))
            if len(made) < LARGEST_GRID:
                made.append(images.to_uint8(image, generator.spec.value_range).cpu())
            bar.update(index + 1)
    return latents, made


def _finish(session: Session, latents: list[Latents], made: list[Tensor], out: Path) -> dict[str, Any]:
    Latents.cat(latents).save(out / "latents.safetensors", model=session.hash)
    images.write_png(out / "grid.png", images.grid(torch.cat(made)))
    names = [out / f"{index:04d}.png" for index in range(len(latents))]
    return {"images": names, "grid": out / "grid.png", "latents": out / "latents.safetensors"}
