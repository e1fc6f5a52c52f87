"""``ganenc spec``: the encoder that a generator gets, as a table. Imports no torch but for foreign checkpoints."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, preset_text
from ganenc_registry.specs.layout import shape_text

from ganenc import encoders
from ganenc.cli.console import emit, show, show_table
from ganenc.cli.options import Json, Set, read_settings
from ganenc.files import write_text
from ganenc.models import Described, Resolved, describe, release_folder


def spec(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, a generator, a preset, a spec file, a folder, a checkpoint, or user/name[:file] of the Hub."
        ),
    ],
    settings: Set = None,
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", help="Write what a file is taken to be, guesses marked; beside the file, it settles it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the encoder that a generator gets: block, resolution, channels, heads, parameters.

    With --set, fields of the encoder's spec are given anew, as in --set residual=sum.
    """
    found = describe(name)
    if write is not None:
        if not found.taken_as:
            raise SpecError(f"{name} leaves nothing to settle, so there is nothing to --write.")
        if os.path.lexists(write):
            raise SpecError(
                f"{write} is there already, perhaps with corrections; delete it first, or name another file."
            )
        write_text(write, found.taken_as)
    overrides = read_settings(settings)
    if overrides:
        if found.generator is None:
            raise SpecError(f"--set changes the encoder of a generator, and {name} names none.")
        encoder = found.mirrored(**overrides)
        if not overrides.keys().isdisjoint(("block", "network")):
            check_choices(encoder)
        found = replace(found, encoder=encoder)
    if as_json:
        emit(_as_json(name, found))
        return
    show(found.title)
    if found.preset:
        show(f"\n{preset_text(found.preset)}\nThe fields that it does not name are as by default: --json shows them.")
    elif found.run is not None:
        show(f"\n{found.run.to_yaml()}")
    if found.generator is not None:
        show(_sentence(found.generator))
    if found.release is not None:
        show("\n".join(_release_lines(found.release)))
    if guesses := [line for line in found.taken_as.splitlines() if "# guess: " in line]:
        show("\nTaken by convention, as the file does not tell; --write FILE.yaml writes it down to be settled:")
        show("\n".join(guesses))
    if found.encoder is not None:
        _show_encoder(found.encoder)


def _sentence(generator: GeneratorSpec) -> str:
    shapes = [f" {shape_text(part.shape)}" if hasattr(part, "shape") else "" for part in generator.layout]
    parts = ", ".join(f"{part.kind} {part.name}{shape}" for part, shape in zip(generator.layout, shapes, strict=True))
    classes = f", {generator.classes} classes" if generator.classes else ""
    return (
        f"{generator.family}: images {shape_text(generator.size)}, {generator.channels} channel(s){classes}; z of"
        f" {generator.prior.dim}; takes {parts}; licence {generator.licence}"
    )


def _release_lines(found: Resolved) -> list[str]:
    """What is known of a release's files, and what is not."""
    assert found.release is not None
    folder, release = release_folder(found.name), found.release
    lines = [f"\nreleased at {release.page}", *([release.notes] if release.notes else [])]
    for file in release.files:
        size = "of unknown size" if file.size is None else f"{file.size:,} bytes"
        place = folder / file.name
        state = "here" if place.is_file() else "to be fetched by hand" if file.by_hand else "fetched on first use"
        lines += [
            f"file {file.name}, {size}, {file.checksum or 'checksum unknown'}",
            f"  from {file.url}",
            f"  at {place} ({state})",
        ]
    return lines


def _show_encoder(encoder: EncoderSpec) -> None:
    rows = []
    known = encoder.rows() or encoders.rows(encoder)
    for row in known:
        channels = f"{row.convolutions[0][0]} → {row.convolutions[-1][1]}" if row.convolutions else ""
        convolutions = ", ".join(f"{height}x{width}" for *_, (height, width) in row.convolutions)
        heads = ", ".join(f"{inputs} → {outputs}" for inputs, outputs in row.heads)
        size = f"{row.size[0]}x{row.size[1]}"
        rows.append([row.name, size, channels, convolutions, heads, row.downscale, f"{row.parameters:,}"])
    total = sum(row.parameters for row in known)
    columns = ["block", "resolution", "channels", "convolutions", "heads", "downscale", "parameters"]
    show()
    show_table(columns, rows, numeric=[6], last=["encoder", "", "", "", "", "", f"{total:,}"])


def _as_json(name: str, found: Described) -> dict[str, Any]:
    data: dict[str, Any] = {"name": name, "title": found.title}
    given = {"run": found.run, "generator": found.generator, "encoder": found.encoder}
    data |= {key: value.to_mapping() for key, value in given.items() if value is not None}
    if found.release is not None and found.release.release is not None:
        release, folder = found.release.release, release_folder(found.release.name)
        data["release"] = {
            "name": found.release.name,
            **release.model_dump(mode="json", exclude={"generator"}),
            "folder": str(folder),
            "here": all((folder / file.name).is_file() for file in release.files),
        }
    if found.encoder is not None:
        rows = [asdict(row) for row in found.encoder.rows() or encoders.rows(found.encoder)]
        data["parameters"] = sum(row["parameters"] for row in rows)
        data["rows"] = [{"block": row.pop("name"), "resolution": row.pop("size"), **row} for row in rows]
    return data
