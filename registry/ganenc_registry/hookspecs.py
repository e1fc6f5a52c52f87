"""The one hook that a plugin implements, in a module that says which contract it was made for.

``GANENC_CONTRACT = (1, 0)`` is read before any of it runs, so that a plugin for another version is told apart from a
broken one.
"""

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
