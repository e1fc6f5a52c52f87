"""The one hook that a plugin implements."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from ganenc_registry.contributions import Contribution

__all__ = ["PROJECT", "ganenc_contributions", "hookimpl"]

PROJECT = "ganenc"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ganenc_contributions() -> Iterable[Contribution]:  # type: ignore[empty-body]
    """Return what the plugin contributes, without importing any of it."""
