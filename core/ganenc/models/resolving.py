"""The one door to models: what a name stands for, before anything of it is loaded. Imports no torch; not in paper."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, PluginError, SpecError, nearest, told
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Release

from ganenc.files import read_json
from ganenc.models.hub import fetch_model, is_hub_id
from ganenc.models.releases import release_folder, release_path

CONFIG, WEIGHTS = "config.json", "model.safetensors"
RUN = "run.yaml"
"""The spec of a run, in its folder."""
FORMAT = "ganenc-model"
ENCODER = "encoder"
"""The folder, inside that of a generator or of a run, in which its encoder lies."""
DIRECTIONS = "directions"
"""The folder, inside that of a generator, in which its directions lie."""
_SPECS: dict[str, type[GeneratorSpec] | type[EncoderSpec]] = {"generator": GeneratorSpec, "encoder": EncoderSpec}


@dataclass(frozen=True)
class Resolved:
    """What a name, a path or an id stands for. Nothing of it is loaded but, where it is asked for, its config."""

    name: str
    """As it was given."""
    kind: Literal["folder", "shipped", "hub", "run", "release", "function", "file"]
    """A model folder here, of a plugin or of the Hub; a run's folder, with its encoder once it is done; a published
    generator; what makes one when it is called, as scripts register it; a foreign file or folder."""
    path: Path | None = None
    """The folder or file; a release's may not be here yet. None for functions."""
    release: Release | None = None
    make: Callable[[], Any] | None = None

    @property
    def folder(self) -> Path | None:
        """The model folder, with a config of ours; None for runs, functions, foreign files, and their releases."""
        if self.kind == "release":
            folder = release_folder(self.name)
            return folder if has_config(folder) else None
        return self.path if self.kind in ("folder", "shipped", "hub") else None

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The model folder's ``config.json``; empty where there is no folder."""
        return {} if self.folder is None else read_config(self.folder)

    @property
    def info(self) -> Mapping[str, Any]:
        """What the config tells besides the spec, such as ``backbone``."""
        info = self.config.get("info") if self.release is None or self.folder is not None else self.release.info
        return info if isinstance(info, dict) else {}

    @property
    def spec(self) -> GeneratorSpec | EncoderSpec | None:
        """The spec, as far as it is known without the weights; `GanencError` if the config is damaged."""
        if self.release is not None:
            return self.release.generator
        place = self.encoder if self.kind == "run" else self.folder
        return None if place is None else read_spec(place)

    @property
    def encoder(self) -> Path | None:
        """The folder of the encoder that lies with it, which may be the folder itself."""
        return self.folder if self.config.get("kind") == "encoder" else self.inside(ENCODER)

    def inside(self, name: str) -> Path | None:
        """A model folder inside this one, such as that of another encoder; None if there is none."""
        place = self.path if self.kind == "run" else self.folder
        return place / name if place is not None and has_config(place / name) else None


@told(CheckpointError)
def resolve(source: str | Path) -> Resolved:
    """What ``source`` stands for: an installed model, a folder or file here, or an id of the Hub, ``user/name`` or
    ``user/name:file``.

    What ganenc wrote here comes before installed models, these before foreign files, and what is here before the Hub,
    from which a model is fetched if it is not in its cache; a release is not fetched. `GanencError` if there is nothing
    of that name, it cannot be fetched, or a config is damaged.
    """
    name, path = str(source), Path(source)
    here = os.path.exists(path)  # Not so in a working folder that cannot be looked into; the path's own would raise.
    kind: Literal["folder", "run"] | None = None
    if here:
        kind = "folder" if has_config(path) else "run" if (path / RUN).is_file() else None
    if name in registry().names("model"):
        if kind is None:
            return registered(name)
        _say_hidden(name, kind)
    if kind is not None:
        return Resolved(name, kind, path)
    if path.exists():
        return Resolved(name, "file", path)
    if name in registry().names("generator"):
        family = registry().resolve("generator", name)
        if isinstance(getattr(family, "spec", None), GeneratorSpec):
            return Resolved(name, "function", make=family)
        raise CheckpointError(
            f"{name} is a family without a spec of its own, not a model: name one of its models (`ganenc list model`),"
            " or save one with `save_pretrained`, or register a function that makes it as a model."
        )
    if not is_hub_id(name):
        raise CheckpointError(
            f"There is no model {name!r}{nearest(name, registry().names('model'))}: it is neither a file or folder here"
            " nor one of the installed models (see `ganenc list model`), nor does it read like an id of the Hugging"
            " Face Hub, user/name or user/name:file."
        )
    fetched = fetch_model(name)
    if fetched.is_file():
        return Resolved(name, "file", fetched)
    if not has_config(fetched):
        raise CheckpointError(
            f"{name} on the Hugging Face Hub is no model of ganenc; a model there is what `ganenc push` puts there, and"
            f" a file of others' goes by {name}:FILE."
        )
    return Resolved(name, "hub", fetched)


@cache
def _say_hidden(name: str, kind: str) -> None:
    """Say once that what lies here hides an installed model."""
    warnings.warn(
        f"{name} is the {'model' if kind == 'folder' else 'run'} in the folder of that name here, and not the installed"
        f" model; the name ./{name} says so, and from another folder the installed one is taken.",
        stacklevel=4,
    )


def registered(name: str) -> Resolved:
    """What is registered as the model of that name, whatever lies here under the same name; `UnknownNameError` if
    nothing is; `PluginError` if it cannot be imported, or is neither a folder's Path, nor a Release, nor a function."""
    found: Any = registry().resolve("model", name)
    if isinstance(found, Path):
        return Resolved(name, "shipped", found)
    if isinstance(found, Release):
        return Resolved(name, "release", release_path(name, found), found)
    if callable(found):
        return Resolved(name, "function", make=found)
    raise PluginError(
        f"The model {name!r} is registered as {found!r}; it has to be the Path of a folder, or a Release, or a function"
        " that makes a Generator."
    )


@told(CheckpointError)
def has_config(folder: Path) -> bool:
    """Whether a folder is a model of ours; other projects have a ``config.json``, too."""
    return (folder / CONFIG).is_file() and _is_ours(_read(folder / CONFIG))


def read_config(folder: str | Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder: ``kind``, ``spec``, ``info``; `CheckpointError` if it has none."""
    path = Path(folder) / CONFIG
    config = _read(path)
    if not _is_ours(config):
        raise CheckpointError(f"{path} is no config of ganenc; a model folder is what `save_pretrained` writes.")
    return dict(config)


def read_spec(folder: Path, kind: str = "") -> Any:
    """The spec in a model folder's config: a GeneratorSpec or an EncoderSpec; `CheckpointError` if it is not of the
    ``kind`` that is wanted, ``generator`` or ``encoder``, `SpecError` if it is damaged."""
    config = read_config(folder)
    found = config.get("kind")
    if not isinstance(found, str) or found not in _SPECS or kind not in ("", found):
        wanted = kind or "generator or encoder"
        raise CheckpointError(f"{folder} holds a model of kind {found!r}; a {wanted} is wanted here.")
    if not isinstance(config.get("spec"), dict):
        raise SpecError(f"{folder / CONFIG} has no spec; the model folder is damaged.")
    return _SPECS[found].from_mapping(config["spec"], where=str(folder / CONFIG))


def _is_ours(config: object) -> bool:
    return isinstance(config, dict) and config.get("format") == FORMAT


def _read(path: Path) -> Any:
    try:
        return read_json(path, "the model folder is damaged: fetch or save the model again")
    except OSError as error:
        raise CheckpointError(
            f"{path.parent} is no model folder: {path.name} cannot be read: {error.strerror}."
        ) from None
