"""Runs with the paper's numbers, and our own, by name: one file each, beside this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs.base import read_mapping
from ganenc_registry.specs.run import RunSpec

__all__ = ["PRESETS", "merge", "preset", "preset_text"]

FOLDER = Path(__file__).parent
NAMES = ("pretrain", "finetune", "paper-pretrain-s1", "paper-pretrain-s2", "paper-finetune")


class _Presets(Mapping[str, Mapping[str, Any]]):
    """The files beside this module, read when they are asked for."""

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in NAMES:
            raise KeyError(name)
        return read_mapping(FOLDER / f"{name}.yaml")

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


PRESETS: Mapping[str, Mapping[str, Any]] = _Presets()
"""The fields that each preset gives, by its name; all others are as they are by default."""


def preset_text(name: str) -> str:
    """The file of a preset: the fields that it gives, with what they are.

    Raises:
        SpecError: if there is no such preset.
    """
    _known(name)
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def preset(name: str, **fields: Any) -> RunSpec:
    """The run of that name, with some fields given anew (mappings are merged, field by field).

    Raises:
        SpecError: if there is no such preset, or a field is wrong.
    """
    _known(name)
    return RunSpec.from_mapping(merge(PRESETS[name], fields), where=f"the preset {name}")


def _known(name: str) -> None:
    if name not in NAMES:
        raise SpecError(f"There is no preset {name!r}{nearest(name, NAMES)}; presets are {', '.join(NAMES)}.")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``over``; where both hold a mapping, these are merged.

    A text over a mapping that has a ``name`` changes that name; the options of another name are not kept.
    """
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        if isinstance(mine, Mapping) and "name" in mine and isinstance(value, str):
            value = {"name": value}
        if isinstance(mine, Mapping) and isinstance(value, Mapping):
            if value.get("name", mine.get("name")) != mine.get("name"):
                mine = {name: field for name, field in mine.items() if name != "options"}
            value = merge(mine, value)
        merged[key] = value
    return merged
