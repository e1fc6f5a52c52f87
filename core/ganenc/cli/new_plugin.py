"""``ganenc new-plugin``: a package for a plugin, to begin with. Imports no torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, cast

import typer
from ganenc_registry import Kind

from ganenc.cli.console import show
from ganenc.scaffold import LICENCES, SCAFFOLDS, write_plugin


def new_plugin(
    name: Annotated[str, typer.Argument(help="The distribution's name, such as ganenc-plugin-my-gan.")],
    kind: Annotated[str, typer.Option("--kind", "-k", help=f"What it brings: {', '.join(SCAFFOLDS)}.")] = "generator",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to make; by default NAME. None is overwritten.")
    ] = None,
    author: Annotated[str, typer.Option("--author", help="A name, or 'Name <address>'.")] = "",
    licence: Annotated[str, typer.Option("--licence", help=f"One of {', '.join(LICENCES)}.")] = LICENCES[0],
) -> None:
    """Write a package for a plugin: a small example that works, its tests, README, licence and CI file."""
    folder = write_plugin(name, cast(Kind, kind), folder=out, author=author, licence=licence)
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    show("\n".join([f"{folder}:", *(f"  {path}" for path in written)]))
    show(f"\nNext:\n  pip install -e {shlex.quote(str(folder))}\n  ganenc check {name}")
