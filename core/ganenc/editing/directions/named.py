"""Directions that lie with a model, by name."""

from __future__ import annotations

import os
from pathlib import Path

from ganenc_registry.errors import UnknownNameError, nearest

from ganenc.editing.directions.direction import Direction
from ganenc.models import DIRECTIONS, resolve


def of_model(source: str | Path) -> dict[str, Path]:
    """The files of the directions in a model's folder, by name; none for a model that is no folder."""
    folder = resolve(source).folder
    found = [] if folder is None else (folder / DIRECTIONS).glob("*.safetensors")
    return {path.stem: path for path in sorted(found)}


def load_direction(name: str | Path, source: str | Path, *, model: str = "") -> Direction:
    """A direction from a file, or by its name among those that lie with a model, whose hash it must belong to;
    `UnknownNameError` if it is neither a file nor a name; `LatentsError` as `Direction.load` does."""
    if os.path.isfile(name):
        return Direction.load(name, model=model)
    known = of_model(source)
    if str(name) not in known:
        there = f"there are {', '.join(known)}" if known else "none lie with it; find some with `ganenc directions`"
        raise UnknownNameError(
            f"There is no direction {str(name)!r}{nearest(str(name), known)}: it is no file, and with the model"
            f" {source} {there}."
        )
    return Direction.load(known[str(name)], model=model)
