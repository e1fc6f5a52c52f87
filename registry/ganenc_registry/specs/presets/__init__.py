"""Runs with the paper's numbers, and our own, by name: one file each, beside this module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs.base import read_mapping
from ganenc_registry.specs.run import RunSpec

__all__ = ["PRESETS", "merge", "preset", "preset_text"]

FOLDER = Path(__file__).parent
PRESETS = ("pretrain", "finetune", "paper-pretrain-s1", "paper-pretrain-s2", "paper-finetune")
"""Their names; the fields that a preset does not give are as they are by default."""


def preset_text(name: str) -> str:
    """The file of a preset: the fields that it gives, with what they are; `SpecError` if there is no such preset."""
    return _file(name).read_text(encoding="utf-8")


def preset(name: str, **fields: Any) -> RunSpec:
    """The run of that name, with some fields given anew (mappings are merged, field by field); `SpecError` if there is
    no such preset, or a field is wrong."""
    return RunSpec.from_mapping(merge(read_mapping(_file(name)), fields), where=f"the preset {name}")


def _file(name: str) -> Path:
    if name not in PRESETS:
        raise SpecError(f"There is no preset {name!r}{nearest(name, PRESETS)}; presets are {', '.join(PRESETS)}.")
    return FOLDER / f"{name}.yaml"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``over``; where both hold a mapping, these are merged. In a component a text stands
    for its ``name`` and a number for its ``weight``; another name takes other options."""
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        if isinstance(mine, Mapping) and ("name" in mine or "weight" in mine):
            value = _fields(value)
        elif isinstance(value, Mapping):
            mine = _fields(mine)
        if not (isinstance(mine, Mapping) and isinstance(value, Mapping)):
            merged[key] = value
            continue
        if "name" in value and value["name"] != mine.get("name"):
            mine = {name: each for name, each in mine.items() if name != "options"}
        merged[key] = merge(mine, value)
    return merged


def _fields(choice: Any) -> Any:
    """A name or a weight alone as the mapping that it stands for."""
    if isinstance(choice, str):
        return {"name": choice}
    return {"weight": choice} if isinstance(choice, int | float) and not isinstance(choice, bool) else choice
