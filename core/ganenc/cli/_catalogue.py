"""``ganenc list`` and ``ganenc plugins``: what is installed. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from ganenc_registry import KINDS, PluginStatus, registry
from ganenc_registry.errors import UnknownNameError, nearest

from ganenc.cli._app import FAILED
from ganenc.cli._console import emit, show, show_table
from ganenc.cli._options import Json

__all__ = ["list_", "plugins"]

MANY = 8
"""So many names of a kind are told one by one."""


def list_(
    kind: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(KINDS)}. By default all.")] = None,
    as_json: Json = False,
) -> None:
    """List what is installed: generators, blocks, attentions, losses, backbones, inverters, metrics, models."""
    wanted = None
    if kind is not None:
        wanted = next((known for known in KINDS if kind in (known, f"{known}s")), None)
        if wanted is None:
            raise UnknownNameError(f"There is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}.")
    found = [(item, registry().owner(item.kind, item.name)) for item in registry().list(wanted)]
    if as_json:
        emit([{**asdict(item), "owner": owner} for item, owner in found])
    elif found:
        show_table(["kind", "name", "summary", "from"], [[i.kind, i.name, i.summary, owner] for i, owner in found])
    else:
        show(f"There is no {wanted or 'contribution'} installed.")


def _brings(status: PluginStatus) -> str:
    """The names that a plugin contributes; where there are many of a kind, how many."""
    told = []
    for kind in KINDS:
        names = [f"{kind} {item.name}" for item in status.contributions if item.kind == kind]
        told += names if len(names) <= MANY else [f"{len(names)} {kind}s (see `ganenc list {kind}`)"]
    return ", ".join(told)


def plugins(as_json: Json = False) -> None:
    """List the plugins, what each brings, and why one could not be loaded. Exits with 1 if there is such a one."""
    found = registry().plugins
    failed = any(status.error for status in found)
    if as_json:
        emit(
            [
                {
                    "name": status.name,
                    "distribution": status.distribution,
                    "error": status.error or None,
                    "contributions": [asdict(item) for item in status.contributions],
                }
                for status in found
            ]
        )
    else:
        rows = []
        for status in found:
            state = f"not loaded: {status.error}" if status.error else _brings(status) or "nothing"
            rows.append([status.name, status.distribution, state])
        show_table(["plugin", "from", "brings"], rows)
    if failed:
        raise typer.Exit(FAILED)
