"""``ganenc convert``: any model => a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganenc import models
from ganenc.cli.console import emit, show
from ganenc.cli.options import Json, Model


def convert(
    *,
    model: Model[str],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to, or with --to the file.")],
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in half precision: half the size, and rounded.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Write a file instead, in a format of other programs that its family knows."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a model folder (config.json, model.safetensors) of a checkpoint; check and time what was written.

    The checkpoint is read as data. It may be of any known GAN, or hold an encoder that
    was published.
    """
    facts = models.convert(model, out, half=half, to=to)
    if as_json:
        emit(facts)
        return
    (height, width), apart = facts["size"], facts["largest_difference"]
    gives = "latents" if facts["kind"] == "encoder" else "pixels"
    same = f"{gives} of {model} up to {apart:.2g}" if half else f"the same {gives} as {model}"
    faster = f"loads {facts['loads_times_as_fast']:.1f}x as fast"
    show(f"{out}: {facts['family'] or 'encoder'}, {height}x{width}, {same}; {faster}; hash {facts['hash'][:12]}")
