"""``ganenc attribute``: photos => which of some generators made them, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ganenc_registry.specs import Choice

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, emit, show, show_table
from ganenc.cli.evaluate import Failures
from ganenc.jobs import OWN, PAGE, RATE, STEPS
from ganenc.jobs import attribute as carry_out
from ganenc.model import load


def attribute(
    photos: options.Photos[list[str]],
    *,
    model: Annotated[
        list[str], typer.Option("--model", "-m", help=f"{options.MODEL_HELP} Again for each that may have made them.")
    ],
    out: options.Out[Path | None] = None,
    rate: Annotated[
        float, typer.Option("--false-alarms", help="The part of a model's own images that may be called none.")
    ] = RATE,
    own: Annotated[int, typer.Option("--own", min=1, help="Images of each model to go by; they are kept.")] = OWN,
    steps: Annotated[
        int,
        typer.Option("--steps", min=1, help="Under the two nearest models, three times; a quarter of them under all."),
    ] = STEPS,
    method: Annotated[str | None, typer.Option("--method", help="Another inverter, with its own options.")] = None,
    settings: options.Set = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Say which of some generators made photos, or none: by how well each makes them again, beside its own images.

    A photo is made by the model that comes nearest, of those under which it does not come back worse than all but
    --false-alarms of their own images; by none, if there is none. OUT/index.html shows every inversion,
    OUT/attribution.json has the numbers. --set reaches the method's options, as in --set method.options.rate=0.1.
    """
    over = options.read_settings(settings).get("method", {})
    chosen = Choice.of({"name": method, **over}, at="method") if method else None
    loaded, failures = [load(one, device=device) for one in model], Failures()
    files = images.find(photos)
    with Bar("attributing", 1) as bar:

        def on_step(done: int, total: int) -> None:
            if bar.total != total:
                bar.restart(done, total)
            bar.update(done)

        found = carry_out(
            files, loaded, rate=rate, own=own, steps=steps, method=chosen, seed=seed, on_step=on_step,
            on_error=failures.add,
        )  # fmt: skip
    if out is not None:
        found.save(out)
    if as_json:
        emit(found.to_mapping())
    else:
        rows = [[Path(one.photo).name, one.verdict, *(f"{one.errors[name]:.1f} dB, p {one.chances[name]:.3f}"
                 for name in model)] for one in found]  # fmt: skip
        show_table(["photo", "made by", *model], rows)
        if out is not None:
            show(f"Report: {out / PAGE}")
    failures.end()
