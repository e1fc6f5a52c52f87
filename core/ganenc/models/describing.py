"""What is known of a name or file without its weights, the encoder that it gets among it. Not in paper.

Imports no torch but for foreign checkpoints.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, SpecError, UnknownNameError, nearest
from ganenc_registry.specs import PRESETS, EncoderSpec, GeneratorSpec, RunSpec, preset, read_mapping

from ganenc import encoders, models
from ganenc.models.hub import is_hub_id
from ganenc.models.resolving import Resolved, read_spec, registered, resolve

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


def describe(name: str) -> Described:
    """What is known of a name or file; `UnknownNameError` if there is none, another `GanencError` if it is damaged."""
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
        loaded = models.load_model(found.name)
        generator, taken_as = loaded.spec, getattr(loaded, "taken_as", "")
        if isinstance(generator, GeneratorSpec) and models.holds_encoder(found.name):
            own = models.load_encoder(found.name).spec
            return Described(f"{title}, with its encoder", generator, own, source=found.name, taken_as=taken_as)
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
