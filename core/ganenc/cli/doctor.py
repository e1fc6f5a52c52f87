"""``ganenc doctor``: what this machine has, what is at hand, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch
from ganenc_registry import registry
from ganenc_registry.errors import GanencError
from packaging.requirements import Requirement

from ganenc import models
from ganenc.cli.console import emit, show_table
from ganenc.cli.options import Json
from ganenc.files import cache_folder, measured, processor
from ganenc.objectives import available_backbones

GIB = 1 << 30


def doctor(as_json: Json = False) -> None:
    """Say what was found: processor, memory, devices, plugins, backbones and models, and how to get what is missing."""
    found = findings()
    if as_json:
        emit(found)
    else:
        show_table(["what", "found"], [[name.replace("_", " "), _told(value)] for name, value in found.items()])


def findings() -> dict[str, Any]:
    """What `doctor` shows, by name, as plain data."""
    version = importlib.metadata.version
    cuda = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    memory = psutil.virtual_memory()
    here, there = _models()
    backbones = available_backbones()
    return {
        "versions": [
            f"ganenc {version('ganenc')}",
            f"Python {platform.python_version()}",
            f"torch {torch.__version__}",
        ],
        "processor": processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{memory.total / GIB:.1f} GiB, of which {memory.available / GIB:.1f} GiB are free",
        "devices": ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])],
        "measured": measured(),
        "cache": str(cache_folder()),
        "plugins": [one.name for one in registry().plugins if not one.error],
        "plugins_that_fail": [f"{one.name}: {one.error}" for one in registry().plugins if one.error],
        "backbones": backbones,
        "backbones_to_fetch": [
            f"{name}: on first use, or put its file into {Path(torch.hub.get_dir()) / 'checkpoints'}"
            for name in sorted({*registry().names("backbone")} - {*backbones})
        ],
        "models": here,
        "models_to_fetch": f"{len(there)}, on first use: ganenc list model" if there else "",
        "extras_missing": [f"{what}: pip install 'ganenc[{extra}]'" for extra, what in _missing_extras().items()],
    }


def _models() -> tuple[list[str], list[str]]:
    """The names of those on this machine, and of those that are fetched on first use."""
    here: list[str] = []
    there: list[str] = []
    for name in sorted(registry().names("model")):
        try:
            found = models.registered(name)
        except GanencError:  # `ganenc plugins` says what is wrong.
            continue
        at_hand = found.kind != "release" or models.release_folder(name).is_dir()
        (here if at_hand else there).append(name)
    return here, there


def _missing_extras() -> dict[str, str]:
    """Of each extra that users may want, the packages that it lacks."""
    lacking: dict[str, list[str]] = {}
    extras = {*(importlib.metadata.metadata("ganenc").get_all("Provides-Extra") or [])} - {"dev"}
    for one in map(Requirement, importlib.metadata.requires("ganenc") or []):
        if one.marker is None or one.marker.evaluate({"extra": ""}) or _is_installed(one.name):
            continue
        for extra in extras:
            if one.marker.evaluate({"extra": extra}):
                lacking.setdefault(extra, []).append(one.name)
    return {extra: ", ".join(names) for extra, names in sorted(lacking.items())}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ("\n" if any(":" in one for one in value) else ", ").join(value) or "none"
    return str(value) or "none"
