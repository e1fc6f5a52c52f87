"""Loading one plugin. The contract that it was made for is read from its source before any of it runs."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import Any, TypeAlias

import pluggy

from ganenc_registry import hookspecs
from ganenc_registry.contributions import Contribution
from ganenc_registry.errors import PluginError
from ganenc_registry.sources import UNKNOWN, constant

__all__ = ["CONTRACT", "CONTRACT_NAME", "OLDEST", "Version", "load", "version_text"]

Version: TypeAlias = tuple[int, int]

CONTRACT: Version = (1, 0)
"""The version of the plugin contract that this release speaks: the hook, the kinds, and what each kind has to do. The
second number grows when something is added, the first when something that plugins rely on changes."""
OLDEST: Version = (1, 0)
"""The oldest version for which plugins can have been made that still work."""
FIRST: Version = (1, 0)
"""What a plugin that declares no version was made for."""
CONTRACT_NAME = "GANENC_CONTRACT"
"""The constant by which a plugin's module declares the version it was made for: ``GANENC_CONTRACT = (1, 0)``."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\s*:\s*[^\W\d]\w*(\.[^\W\d]\w*)*)?\s*(\[.*\])?\s*")


def load(point: importlib.metadata.EntryPoint) -> tuple[Version, list[Contribution]]:
    """Import a plugin: the version of the contract that it was made for, and its contributions. Whatever its code
    raises passes; `PluginError` if it was made for another contract, implements no hook, or contributes something else.
    """
    if not _REFERENCE.fullmatch(point.value):
        raise PluginError(
            f"The entry point {point.name!r} reads {point.value!r}; it takes 'package.module' or 'package.module:name'."
        )
    declared = constant(point.module, CONTRACT_NAME)
    if declared is not UNKNOWN:
        _check_contract(declared)
    plugin = point.load()
    if declared is UNKNOWN:
        declared = _check_contract(getattr(sys.modules[point.module], CONTRACT_NAME, FIRST))
    return declared, _ask(plugin, point)


def _ask(plugin: Any, point: importlib.metadata.EntryPoint) -> list[Contribution]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=point.name)
    manager.check_pending()
    contributions = [item for result in manager.hook.ganenc_contributions() for item in result]
    if not manager.get_hookcallers(plugin):
        raise PluginError(f"{point.value} implements no hook; give it a `@hookimpl def ganenc_contributions()`.")
    wrong = [item for item in contributions if not isinstance(item, Contribution)]
    if wrong:
        raise PluginError(f"{point.value} contributes {wrong[0]!r}, which is no Contribution.")
    return contributions


def _check_contract(declared: Any) -> Version:
    """The declared version of the contract, if it works here; else a PluginError with what to upgrade."""
    if not (
        isinstance(declared, tuple)
        and len(declared) == 2
        and all(isinstance(number, int) and not isinstance(number, bool) for number in declared)
    ):
        raise PluginError(f"{CONTRACT_NAME} is two whole numbers, such as {CONTRACT}, not {declared!r}.")
    made_for, ours = version_text(declared), version_text(CONTRACT)
    if declared > CONTRACT:
        raise PluginError(f"It was made for plugin contract {made_for}, and this ganenc has {ours}: upgrade ganenc.")
    if declared < OLDEST:
        raise PluginError(
            f"It was made for plugin contract {made_for}, and this ganenc has {ours}, which works with"
            f" {version_text(OLDEST)} and newer: upgrade the plugin."
        )
    return declared


def version_text(version: Version) -> str:
    """A version as people read it: ``1.0``."""
    return ".".join(map(str, version))
