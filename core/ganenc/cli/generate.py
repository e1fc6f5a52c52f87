"""``ganenc generate``: images from a generator's prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from ganenc_registry.errors import LatentsError, SpecError

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, emit, show
from ganenc.latents import Latents
from ganenc.model import Model as Loaded
from ganenc.models import load_generator

LARGEST_GRID = 64


def generate(
    *,
    model: options.Model[str],
    out: options.Out[Path],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many images.")] = 8,
    seed: options.Seed[int] = 0,
    truncation: Annotated[
        float, typer.Option("--truncation", min=0, help="Below 1 for images nearer to the mean.")
    ] = 1.0,
    labels: options.Labels = None,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Draw images from a generator: PNG files (and .npy of what is no picture), a grid, and latents of all."""
    loaded = Loaded(load_generator(model, device=device), source=model)
    given = options.integers(labels)
    try:
        classes = loaded.labels(given, n)
    except LatentsError as error:
        raise SpecError(f"--labels: {error}") from None
    files, latents, shown = [], [], []
    spec = loaded.generator.spec
    with Bar("generating", n) as bar:
        for index in range(n):  # One by one, so that there is no bound to how many.
            label = None if classes is None else classes[index : index + 1]
            drawn = loaded.generate(1, seed=seed, first=index, labels=label, truncation=truncation)
            files.append(images.write_image(out / f"{index:04d}.png", drawn.images[0], spec))
            latents.append(drawn.latents.to("cpu"))
            if index < LARGEST_GRID:
                shown.append(images.depict(drawn.images, spec).cpu())
            bar.update(index + 1)
    Latents.cat(latents).save(out / "latents.safetensors", model=loaded.hash)
    images.write_png(out / "grid.png", images.grid(torch.cat(shown)), sheet=True)
    written = {"images": files, "grid": out / "grid.png", "latents": out / "latents.safetensors"}
    asked = {"n": n, "seed": seed, "truncation": truncation, "labels": given}
    if as_json:
        emit({"model": model, "model_hash": loaded.hash, **asked, **written})
    else:
        show(f"{n} images and their latents are in {out}; all in one: {written['grid']}")
