"""``ganenc list`` and ``ganenc plugins``: what is installed. Imports no torch but for ``--options``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from ganenc_registry import KINDS, Contribution, Kind, PluginStatus, registry
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError, nearest
from ganenc_registry.loading import version_text

from ganenc import models
from ganenc.cli.console import complain, emit, show, show_table
from ganenc.cli.exits import FAILED
from ganenc.cli.options import Json

MANY = 8
"""So many names of a kind are told one by one."""
NO_COMPONENTS = ("generator", "model", "command")
"""Kinds that are not chosen with options in a spec."""


def list_(
    kind: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(KINDS)}. By default all.")] = None,
    options: Annotated[
        bool, typer.Option("--options", help="Show the options of each: their types, defaults and what they do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is installed, of every kind or of one: its name, a line about it, and where it comes from.

    With --options each is imported, and its options are listed: what a run's spec takes as {name: ..., options: {...}},
    and --set by its path.
    """
    wanted = next((known for known in KINDS if kind in (known, f"{known}s")), None)
    if kind is not None and wanted is None:
        raise UnknownNameError(f"There is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}.")
    found = [(item, registry().owner(item.kind, item.name)) for item in registry().list(wanted)]
    if options:
        _list_options(wanted, [item for item, _ in found if item.kind not in NO_COMPONENTS], as_json)
    elif as_json:
        emit([{**asdict(item), "owner": owner} for item, owner in found])
    elif found:
        show_table(["kind", "name", "summary", "from"], [[i.kind, i.name, i.summary, owner] for i, owner in found])
    else:
        show(f"There is no {wanted or 'contribution'} installed.")


def _list_options(kind: Kind | None, items: list[Contribution], as_json: bool) -> None:
    """The options of components; what cannot be imported is named, and the rest go on."""
    from ganenc_registry.components import Component, option_rows  # With pydantic, half the time of a plain list.

    if kind in NO_COMPONENTS:
        others = ", ".join(one for one in KINDS if one not in NO_COMPONENTS)
        raise SpecError(f"A {kind} has no options in a spec; kinds that have are {others}.")
    found: list[tuple[Contribution, list[Any]]] = []
    faults = []
    for item in items:
        try:
            target = registry().resolve(item.kind, item.name)
        except PluginError as error:
            faults.append(str(error))
            continue
        own = isinstance(target, type) and issubclass(target, Component)
        found.append((item, option_rows(target.Options) if own else []))
    if as_json:
        emit([{"kind": item.kind, "name": item.name, "options": rows} for item, rows in found])
    else:
        columns = ["kind", "name", "option", "type", "default", "what it does"]
        show_table(columns, [row for item, rows in found for row in _option_lines(item, rows)])
    for fault in faults:
        complain(fault)
    if faults:
        raise typer.Exit(FAILED)


def _option_lines(item: Contribution, rows: list[Any]) -> list[list[str]]:
    told = []
    for one in rows:
        default = "required" if one["required"] else json.dumps(one["default"])
        told.append([one["name"], one["type"], default, one["description"]])
    return [[item.kind, item.name, *cells] for cells in told or [["", "", "", "It has no options."]]]


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
    found = registry().plugins
    told = [(one, _faults(one, check)) for one in found]
    if as_json:
        emit([_as_json(status, wrong) for status, wrong in told])
    else:
        rows = [[status.name, status.distribution, _state(status, wrong)] for status, wrong in told]
        show_table(["plugin", "from", "brings"], rows)
    if any(status.error or wrong for status, wrong in told):
        raise typer.Exit(FAILED)


def _faults(status: PluginStatus, resolve: bool) -> list[str]:
    """What is wrong with a plugin that was loaded."""
    found = [models.find_fault(item, resolve=resolve) for item in status.contributions]
    loud = f"it prints while it is imported, where results belong: {status.printed}" if status.printed else ""
    return [fault for fault in [loud, *found] if fault]


def _state(status: PluginStatus, faults: list[str]) -> str:
    """What a plugin brings, where there are many of a kind how many, and what is wrong with it."""
    if status.error:
        return f"not loaded: {status.error}"
    told = []
    for kind in KINDS:
        names = [f"{kind} {item.name}" for item in status.contributions if item.kind == kind]
        told += names if len(names) <= MANY else [f"{len(names)} {kind}s (see `ganenc list {kind}`)"]
    return "\n".join([", ".join(told) or "nothing", *(f"broken: {fault}" for fault in faults)])


def _as_json(status: PluginStatus, faults: list[str]) -> dict[str, object]:
    return {
        "name": status.name,
        "distribution": status.distribution,
        "contract": None if status.contract is None else version_text(status.contract),
        "error": status.error or None,
        "faults": faults,
        "contributions": [asdict(item) for item in status.contributions],
    }
