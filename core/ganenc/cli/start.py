"""``ganenc start``: an encoder in closed form, from some hundred images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganenc.cli import options
from ganenc.cli.console import Bar, emit, show
from ganenc.models import load_generator, model_hash, resolve, save_pretrained
from ganenc.training import solve_start


def start(
    *,
    model: options.Model[str],
    out: options.Out[Path],
    images: Annotated[int, typer.Option("--images", min=4, help="How many images to solve from.")] = 300,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Build an encoder without training, in minutes: linear heads on the features of a frozen network, solved
    for from images that the generator makes. `ganenc invert --encoder OUT` begins with it, `ganenc pretrain --encoder
    OUT` trains it on.
    """
    generator = load_generator(model, device=device)
    own = resolve(model).info.get("backbone")
    with Bar("synthesizing", images) as bar:
        solved = solve_start(
            generator, backbone=backbone, own_backbone=own, images=images, seed=seed,
            on_step=lambda done, _: bar.update(done),
        )  # fmt: skip
    facts = {"generator": model_hash(generator), "images": images, "seed": seed, "explained": solved.explained}
    save_pretrained(solved.encoder, out, info=facts)
    if as_json:
        emit({"model": model, "encoder": out, **facts})
        return
    shares = ", ".join(f"{share:.0%} of {name}" for name, share in solved.explained.items())
    show(f"{out}: an encoder that predicts {shares} in images that it has not seen.")
