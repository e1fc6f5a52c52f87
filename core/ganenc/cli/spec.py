"""``ganenc spec``: the encoder that a generator gets, as a table. Imports no torch but for foreign checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError, nearest
from ganenc_registry.specs import (
    PRESETS,
    EncoderSpec,
    GeneratorSpec,
    Release,
    RunSpec,
    preset,
    preset_text,
    read_mapping,
)
from ganenc_registry.specs.layout import shape_text

from ganenc.cli.console import emit, show, show_table
from ganenc.cli.options import Json, Set, read_settings

__all__ = ["Described", "describe", "spec"]

SPEC_SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class Described:
    """What is known of a name or file, without its weights."""

    title: str
    generator: GeneratorSpec | None = None
    encoder: EncoderSpec | None = None
    run: RunSpec | None = None
    preset: str = ""
    """Which preset the run is."""
    release: tuple[str, Release] | None = None
    """The name under which it was published, and where its files are."""


def spec(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, a generator, a preset, a spec file, a folder, a checkpoint, or user/name of the Hub."
        ),
    ],
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Show the encoder that a generator gets: block, resolution, channels, heads, parameters.

    With --set, fields of the encoder's spec are given anew, as in --set residual=sum.
    """
    found = describe(name)
    overrides = read_settings(settings)
    if overrides:
        if found.generator is None:
            raise SpecError(f"--set changes the encoder of a generator, and {name} names none.")
        found = replace(found, encoder=EncoderSpec.mirror(found.generator, **overrides))
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
        show("\n".join(_release_lines(*found.release)))
    if found.encoder is not None:
        _show_encoder(found.encoder)


def describe(name: str) -> Described:
    """What is known of a name or file.

    Raises:
        UnknownNameError: if there is nothing of that name.
        GanencError: if the file is none of those that are understood.
    """
    from ganenc.models import is_hub_id, load_generator, model_folder, registered_model

    path, found = Path(name), registered_model(name)
    if path.exists() and (found is None or model_folder(path) == path):  # As loading by that name has it.
        return _file(path)
    if isinstance(found, Release):
        return _release(name, found)
    if isinstance(found, Path):
        return _folder(found, f"Model {name}")
    if found is not None:
        return _mirrored(f"Model {name}", load_generator(name).spec)
    if name in PRESETS:
        return Described(f"Preset {name}", run=preset(name), preset=name)
    if name in registry().names("generator"):
        return _family(name)
    if is_hub_id(name) and (folder := model_folder(name)):
        return _folder(folder, f"Model {name} of the Hugging Face Hub")
    known = [*registry().names("model"), *registry().names("generator"), *PRESETS]
    raise UnknownNameError(
        f"There is no model, generator, preset or file {name!r}{nearest(name, known)}; see `ganenc list`, or take a"
        f" preset: {', '.join(PRESETS)}."
    )


def _file(path: Path) -> Described:
    from ganenc.models import load_generator, model_folder

    if path.is_file() and path.suffix in SPEC_SUFFIXES:
        return _spec_file(path)
    folder = model_folder(path)
    if folder is not None:
        return _folder(folder, f"Model folder {path}")
    generator = load_generator(path)
    return _mirrored(f"Checkpoint {path}", generator.spec)


def _folder(folder: Path, title: str) -> Described:
    from ganenc.models import ENCODER, read_config

    config = read_config(folder)
    where = str(folder / "config.json")
    if config.get("kind") == "encoder":
        return Described(f"{title}, an encoder", encoder=EncoderSpec.from_mapping(_fields(config, where), where=where))
    generator = GeneratorSpec.from_mapping(_fields(config, where), where=where)
    inside = folder / ENCODER
    if not (inside / "config.json").is_file():
        return _mirrored(title, generator)
    place = str(inside / "config.json")
    encoder = EncoderSpec.from_mapping(_fields(read_config(inside), place), where=place)
    return Described(f"{title}, with its trained encoder", generator, encoder)


def _fields(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    fields = config.get("spec")
    if not isinstance(fields, dict):
        raise SpecError(f"{where} has no spec; the model folder is damaged.")
    return fields


def _spec_file(path: Path) -> Described:
    """A file with a spec: which kind, its fields say."""
    fields = read_mapping(path)
    where = str(path)
    if "format" in fields and "spec" in fields:
        return _folder(path.parent, f"Model folder {path.parent}")
    if "task" in fields or "steps" in fields:
        return _run(RunSpec.from_mapping(fields, where=where), f"Run {path}")
    if "blocks" in fields:
        return Described(f"Encoder {path}", encoder=EncoderSpec.from_mapping(fields, where=where))
    if "family" in fields or "prior" in fields:
        return _mirrored(f"Generator {path}", GeneratorSpec.from_mapping(fields, where=where))
    raise SpecError(
        f"{path} is no spec that ganenc knows: a run has a `task`, a generator a `family`, an encoder its `blocks`."
    )


def _run(run: RunSpec, title: str) -> Described:
    if not run.generator:
        return Described(title, run=run)
    named = describe(run.generator)
    if named.generator is None:
        raise SpecError(f"generator: {run.generator} is no generator.")
    return Described(title, named.generator, EncoderSpec.mirror(named.generator, **run.encoder.overrides), run)


def _release(name: str, release: Release) -> Described:
    return replace(_mirrored(f"Release {name}", release.generator), release=(name, release))


def _family(family: str) -> Described:
    """A family as the first of its releases has it.

    Raises:
        SpecError: if it has none.
    """
    for name, release in _releases():
        if release.generator.family == family:
            found = _release(name, release)
            return replace(found, title=f"Generator {family}, as it was released as {name}, mirrored")
    raise SpecError(
        f"The generator {family!r} has no size of its own and no installed release; give one of its models, a"
        " checkpoint, or a file with its GeneratorSpec."
    )


def _releases() -> Iterator[tuple[str, Release]]:
    """Every release that can be imported, by name."""
    from ganenc.models import find_release

    for name in registry().names("model"):
        try:
            release = find_release(name)
        except PluginError:  # `ganenc spec` with its name tells why.
            continue
        if release is not None:
            yield name, release


def _mirrored(title: str, generator: GeneratorSpec) -> Described:
    return Described(f"{title}, mirrored", generator, EncoderSpec.mirror(generator))


def _sentence(generator: GeneratorSpec) -> str:
    parts = ", ".join(
        f"{part.kind} {part.name} {shape_text(part.shape)}" if hasattr(part, "shape") else f"{part.kind} {part.name}"
        for part in generator.layout
    )
    height, width = generator.size
    classes = f", {generator.classes} classes" if generator.classes else ""
    return (
        f"{generator.family}: images {height}x{width}, {generator.channels} channel(s){classes}; z of"
        f" {generator.prior.dim}; takes {parts}; licence {generator.licence}"
    )


def _release_lines(name: str, release: Release) -> list[str]:
    """What is known of a release's files, and what is not."""
    from ganenc.models import release_folder

    folder = release_folder(name)
    lines = [f"\nreleased at {release.page}"]
    if release.notes:
        lines.append(release.notes)
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
    for row in encoder.rows():
        channels = f"{row.convolutions[0][0]} → {row.convolutions[-1][1]}" if row.convolutions else ""
        convolutions = ", ".join(f"{kernel}x{kernel}" for *_, kernel in row.convolutions)
        heads = ", ".join(f"{inputs} → {outputs}" for inputs, outputs in row.heads)
        size = f"{row.size[0]}x{row.size[1]}"
        rows.append([row.name, size, channels, convolutions, heads, row.downscale, f"{row.parameters:,}"])
    total = sum(row.parameters for row in encoder.rows())
    columns = ["block", "resolution", "channels", "convolutions", "heads", "downscale", "parameters"]
    show()
    show_table(columns, rows, numeric=[6], last=["encoder", "", "", "", "", "", f"{total:,}"])


def _as_json(name: str, found: Described) -> dict[str, Any]:
    data: dict[str, Any] = {"name": name, "title": found.title}
    for key, value in (("run", found.run), ("generator", found.generator), ("encoder", found.encoder)):
        if value is not None:
            data[key] = value.to_mapping()
    if found.release is not None:
        from ganenc.models import release_folder

        published, release = found.release
        folder = release_folder(published)
        here = all((folder / file.name).is_file() for file in release.files)
        told = release.model_dump(mode="json", exclude={"generator"})
        data["release"] = {"name": published, **told, "folder": str(folder), "here": here}
    if found.encoder is not None:
        rows = found.encoder.rows()
        data["rows"] = [
            {
                "block": row.name,
                "resolution": row.size,
                "convolutions": row.convolutions,
                "heads": row.heads,
                "downscale": row.downscale,
                "parameters": row.parameters,
            }
            for row in rows
        ]
        data["parameters"] = sum(row.parameters for row in rows)
    return data
