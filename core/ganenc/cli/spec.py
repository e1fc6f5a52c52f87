"""``ganenc spec``: the encoder that a generator gets, as a table. Imports no torch but for foreign checkpoints."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, SpecError, UnknownNameError, nearest
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import PRESETS, EncoderSpec, GeneratorSpec, RunSpec, preset, preset_text, read_mapping
from ganenc_registry.specs.layout import shape_text

from ganenc import encoders, models
from ganenc.cli.console import emit, show, show_table
from ganenc.cli.options import Json, Set, read_settings
from ganenc.files import write_text
from ganenc.models import Resolved, is_hub_id, read_spec, registered, release_folder, resolve

SPEC_SUFFIXES = (".json", ".yaml", ".yml")
TITLES = {
    "folder": "Model folder {}",
    "shipped": "Model {}",
    "hub": "Model {} of the Hugging Face Hub",
    "run": "Run {}, an encoder",
    "release": "Release {}",
    "function": "Model {}",
    "file": "Checkpoint {}",
}


@dataclass(frozen=True)
class Described:
    """What is known of a name or file, without its weights."""

    title: str
    generator: GeneratorSpec | None = None
    encoder: EncoderSpec | None = None
    run: RunSpec | None = None
    preset: str = ""
    """Which preset the run is."""
    release: Resolved | None = None
    """Where its files are, if it was published."""
    source: str = ""
    """What its weights are loaded by, where they are here."""
    taken_as: str = ""
    """What a foreign file was taken to be, where it does not tell; see `Generator.taken_as`."""

    def mirrored(self, **overrides: Any) -> EncoderSpec:
        """The encoder that its generator gets, whose widths are measured where its spec tells none."""
        assert self.generator is not None
        if self.source and not self.generator.resolution_channels:
            return encoders.mirror(models.load_generator(self.source), **overrides)
        return EncoderSpec.mirror(self.generator, **overrides)


def spec(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, a generator, a preset, a spec file, a folder, a checkpoint, or user/name of the Hub."
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
        write_text(write, found.taken_as)
    overrides = read_settings(settings)
    if overrides:
        if found.generator is None:
            raise SpecError(f"--set changes the encoder of a generator, and {name} names none.")
        encoder = found.mirrored(**overrides)
        if "block" in overrides:
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


def describe(name: str) -> Described:
    """What is known of a name or file; `UnknownNameError` if there is nothing of that name, another `GanencError` if it
    is no file that is understood."""
    path = Path(name)
    if os.path.isfile(path) and path.suffix in SPEC_SUFFIXES:
        return _spec_file(path)
    if not os.path.exists(path) and name not in registry().names("model"):
        if name in PRESETS:
            return Described(f"Preset {name}", run=preset(name), preset=name)
        if name in registry().names("generator"):
            return _family(name)
    try:
        found = resolve(name)
    except CheckpointError:
        if os.path.exists(path) or is_hub_id(name):
            raise
        known = [*registry().names("model"), *registry().names("generator"), *PRESETS]
        raise UnknownNameError(
            f"There is no model, generator, preset or file {name!r}{nearest(name, known)}; see `ganenc list`, or take a"
            f" preset: {', '.join(PRESETS)}."
        ) from None
    return _model(found)


def _model(found: Resolved) -> Described:
    """A model: as its config or its release says, or else its weights."""
    title = TITLES[found.kind].format(found.name)
    generator, taken_as = found.spec, ""
    if generator is None:
        loaded = models.load_generator(found.name)
        generator, taken_as = loaded.spec, loaded.taken_as
    if isinstance(generator, EncoderSpec):
        return Described(f"{title}, an encoder" if found.kind != "run" else title, encoder=generator)
    if found.release is not None or found.encoder is None:
        return _mirrored(
            title, generator, release=found if found.release else None, source="" if found.release else found.name,
            taken_as=taken_as,
        )  # fmt: skip
    trained = read_spec(found.encoder, "encoder")
    return Described(f"{title}, with its trained encoder", generator, trained, source=found.name)


def _spec_file(path: Path) -> Described:
    """A file with a spec: which kind, its fields say."""
    fields = read_mapping(path)
    where = str(path)
    if "format" in fields and "spec" in fields:
        return _model(resolve(path.parent))
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
    if not run.model:
        return Described(title, run=run)
    named = describe(run.model)
    if named.generator is None:
        raise SpecError(f"model: {run.model} is no generator.")
    return Described(title, named.generator, named.mirrored(**run.encoder.overrides), run)


def _family(family: str) -> Described:
    """A family as the first of its releases has it; `SpecError` if it has none."""
    for name in registry().names("model"):
        with suppress(PluginError):  # `ganenc spec` with its name tells why it cannot be imported.
            found = registered(name)
            if found.release is not None and found.release.generator.family == family:
                return replace(_model(found), title=f"Generator {family}, as it was released as {name}, mirrored")
    with suppress(GanencError):  # One with a spec of its own is a model.
        return _model(resolve(family))
    raise SpecError(
        f"The generator {family!r} has no size of its own and no installed release; give one of its models, a"
        " checkpoint, or a file with its GeneratorSpec."
    )


def _mirrored(title: str, generator: GeneratorSpec, **known: Any) -> Described:
    made = Described(f"{title}, mirrored", generator, **known)
    return replace(made, encoder=made.mirrored())


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
    for row in encoder.rows():
        channels = f"{row.convolutions[0][0]} → {row.convolutions[-1][1]}" if row.convolutions else ""
        convolutions = ", ".join(f"{height}x{width}" for *_, (height, width) in row.convolutions)
        heads = ", ".join(f"{inputs} → {outputs}" for inputs, outputs in row.heads)
        size = f"{row.size[0]}x{row.size[1]}"
        rows.append([row.name, size, channels, convolutions, heads, row.downscale, f"{row.parameters:,}"])
    total = sum(row.parameters for row in encoder.rows())
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
        rows = [asdict(row) for row in found.encoder.rows()]
        data["parameters"] = sum(row["parameters"] for row in rows)
        data["rows"] = [{"block": row.pop("name"), "resolution": row.pop("size"), **row} for row in rows]
    return data
