"""What exists: names, specs, hooks and plugin discovery. Imports no torch."""

from ganenc_registry.contributions import KINDS, Contribution, Kind
from ganenc_registry.errors import GanencError
from ganenc_registry.hookspecs import hookimpl
from ganenc_registry.loading import CONTRACT
from ganenc_registry.registry import PluginStatus, Registry, register, registry

__all__ = [
    "CONTRACT",
    "KINDS",
    "Contribution",
    "GanencError",
    "Kind",
    "PluginStatus",
    "Registry",
    "hookimpl",
    "register",
    "registry",
]
