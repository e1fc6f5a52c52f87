"""``ganenc list`` and ``ganenc plugins``: what is installed. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from ganenc_registry import KINDS, PluginStatus, registry
from ganenc_registry.errors import UnknownNameError, nearest
from ganenc_registry.loading import version_text

from ganenc.cli.app import FAILED
from ganenc.cli.console import emit, show, show_table
from ganenc.cli.options import Json

__all__ = ["list_", "plugins"]

MANY = 8
"""So many names of a kind are told one by one."""


def list_(
    kind: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(KINDS)}. By default all.")] = None,
    as_json: Json = False,
) -> None:
    """List what is installed, of every kind or of one: its name, a line about it, and where it comes from."""
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


def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Import all that they bring, too, which takes longer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the plugins, what each brings, and what is wrong with it. Exits with 1 if something is.

    A plugin that cannot be loaded is listed with the reason, and so is whatever could not be used of one that can: a
    target that is not there, a model without its files, a spec with a wrong field. The others work all the same. What
    a plugin brings is looked up in its source; with --check it is imported. `ganenc check` runs it.
    """
    from ganenc.models import find_fault

    found = registry().plugins
    told = [(one, [fault for item in one.contributions if (fault := find_fault(item, resolve=check))]) for one in found]
    if as_json:
        emit([_as_json(status, wrong) for status, wrong in told])
    else:
        rows = [[status.name, status.distribution, _state(status, wrong)] for status, wrong in told]
        show_table(["plugin", "from", "brings"], rows)
    if any(status.error or wrong for status, wrong in told):
        raise typer.Exit(FAILED)


def _state(status: PluginStatus, faults: list[str]) -> str:
    """What a plugin brings, and what is wrong with it."""
    if status.error:
        return f"not loaded: {status.error}"
    return "\n".join([_brings(status) or "nothing", *(f"broken: {fault}" for fault in faults)])


def _as_json(status: PluginStatus, faults: list[str]) -> dict[str, object]:
    return {
        "name": status.name,
        "distribution": status.distribution,
        "contract": None if status.contract is None else version_text(status.contract),
        "error": status.error or None,
        "faults": faults,
        "contributions": [asdict(item) for item in status.contributions],
    }
