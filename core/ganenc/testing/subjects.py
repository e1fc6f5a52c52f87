"""What can be checked, and how it is named: a contribution, what a script registers, a plugin, something at hand.

Imports no torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ganenc_registry import KINDS, Contribution, Kind, PluginStatus, registry
from ganenc_registry.components import Component, Context
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError, nearest
from ganenc_registry.hookspecs import PROJECT
from ganenc_registry.specs import GeneratorSpec

from ganenc import models
from ganenc.files import import_script
from ganenc.testing.checks import Scope, fail

__all__ = ["BASES", "Subject", "built", "find_subjects", "subject_of", "subjects_of"]

C = TypeVar("C", bound=Component)

BASES: tuple[tuple[Kind, str, str], ...] = (
    ("generator", "ganenc.generators.generator", "Generator"),
    ("block", "ganenc.encoders.blocks", "EncoderBlock"),
    ("encoder", "ganenc.encoders", "EncoderNetwork"),
    ("attention", "ganenc.objectives.attentions", "Attention"),
    ("loss", "ganenc.objectives", "Loss"),
    ("backbone", "ganenc.objectives", "Backbone"),
    ("aligner", "ganenc.inversion", "Aligner"),
    ("inverter", "ganenc.inversion", "Inverter"),
    ("operator", "ganenc.inversion", "Operator"),
    ("recipe", "ganenc.training", "Recipe"),
    ("finder", "ganenc.editing", "Finder"),
    ("metric", "ganenc.measures", "Metric"),
    ("runner", "ganenc.jobs", "Runner"),
    ("model", "pathlib", "Path"),
    ("model", "ganenc_registry.specs", "Release"),
)
"""The classes that things of a kind are of: kind, module and name."""


@dataclass
class Subject:
    """One thing to check.

    Attributes:
        kind: what it is.
        name: what it is called in tables.
        contribution: how it is declared, where it is contributed.
        plugin: the plugin that it comes from, or that it is.
        spec: what a family of generators is built from; by default it is asked itself, then its shipped models.
        value: what is checked, where it is at hand already.
    """

    kind: Scope
    name: str
    contribution: Contribution | None = None
    plugin: PluginStatus | None = None
    spec: GeneratorSpec | None = None
    value: Any = None

    def resolve(self) -> Any:
        """What is checked; it is imported where it is contributed.

        Raises:
            PluginError: if it cannot be imported.
        """
        if self.contribution is None:
            return self.value
        return registry().resolve(self.contribution.kind, self.contribution.name)

    @cached_property
    def entry_point(self) -> importlib.metadata.EntryPoint | None:
        """The entry point of its plugin; None for what a script registers."""
        if self.plugin is None:
            return None
        points = importlib.metadata.entry_points(group=PROJECT)
        return next((one for one in points if _status_of(one) == self.plugin), None)


def find_subjects(name: str, *, spec: GeneratorSpec | None = None) -> list[Subject]:
    """What a name stands for.

    Args:
        name: ``kind:name`` or the bare name of a contribution; a Python file, for all that it registers; a file or
            folder of weights, for the generator in it, ``./name`` where something installed is called so; a
            distribution or its package, for the plugin and all that it contributes.
        spec: what its family of generators is built from.

    Raises:
        UnknownNameError: if there is nothing of that name, or several kinds of thing.
        PluginError: if a file cannot be imported, or registers nothing.
        SpecError: if a spec is given, and no family of that name is among what is checked.
    """
    found = list(_found(name))
    takers = [one for one in found if spec is not None and one.kind == "generator"]
    for one in takers:
        if spec is not None and (one.name == f"generator:{spec.family}" or len(takers) == 1):
            one.spec = spec
    if spec is not None and not any(one.spec for one in takers):
        raise SpecError(
            f"A spec of the family {spec.family!r} is given, but {name} brings no generator to build of it."
        )
    return found


def subject_of(value: Any, kind: Kind | None = None, *, spec: GeneratorSpec | None = None) -> Subject:
    """What is at hand as a subject: a class, an object, or a function.

    Args:
        value: what to check.
        kind: what it is; by default told by its class. Functions need it.
        spec: what a family of generators is built from.

    Raises:
        PluginError: if its kind cannot be told.
        SpecError: if a spec is given for what is no generator.
    """
    kind = kind or _kind_of(value)
    if spec is not None and kind != "generator":
        raise SpecError(f"A spec is what a generator is built from, and {value!r} is a {kind}; leave it out.")
    name = getattr(value, "__name__", None) or type(value).__name__
    return Subject(kind, f"{kind}:{name}", spec=spec, value=value)


def subjects_of(given: Any, kind: Kind | None = None, *, spec: GeneratorSpec | None = None) -> list[Subject]:
    """A name by :func:`find_subjects`, a subject as it is, anything else by :func:`subject_of`."""
    if isinstance(given, str):
        return find_subjects(given, spec=spec)
    return [given if isinstance(given, Subject) else subject_of(given, kind, spec=spec)]


def built(value: Any, base: type[C], context: Context) -> C:
    """A component at hand as it is, or the one that a class builds of its default options."""
    if isinstance(value, base):
        return value
    if not (isinstance(value, type) and issubclass(value, base)):
        fail(f"It is {value!r}, where a subclass of {base.__name__} is expected; make it one.")
    return value(None, context)


def _found(name: str) -> Iterator[Subject]:
    kind, sign, rest = name.partition(":")
    if name.endswith(".py"):
        yield from _of_script(name)
    elif sign and kind in KINDS:
        yield _of_contribution(registry().get(kind, rest))
    elif several := [one for one in registry().list() if one.name == name]:
        if len(several) > 1:
            ways = " or ".join(f"{one.kind}:{name}" for one in several)
            raise UnknownNameError(f"{name!r} names a {' and a '.join(one.kind for one in several)}: say {ways}.")
        yield _of_contribution(several[0])
    elif whole := _of_plugin(name.removeprefix("plugin:")):
        yield from whole
    elif os.path.exists(name):
        yield Subject("generator", f"generator:{Path(name).name}", value=models.load_generator(name))
    else:
        known = [one.name for one in registry().list()] + [_distribution(one) for one in registry().plugins]
        raise UnknownNameError(
            f"There is no contribution, plugin or Python file {name!r}{nearest(name, known)}; see `ganenc list` and"
            " `ganenc plugins`."
        )


def _of_contribution(item: Contribution) -> Subject:
    plugin = next((one for one in registry().plugins if item in one.contributions), None)
    return Subject(item.kind, f"{item.kind}:{item.name}", contribution=item, plugin=plugin)


def _of_script(path: str) -> Iterator[Subject]:
    before = registry().list()
    import_script(path)
    made = [one for one in registry().list() if one not in before]
    again = [one for one in before if registry().owner(one.kind, one.name) == str(Path(path).resolve())]
    if not made and not again:
        raise PluginError(
            f"The script {path} registers nothing; decorate what it brings with `@ganenc.register(kind, name)`."
        )
    yield from (_of_contribution(one) for one in made or again)


def _of_plugin(name: str) -> list[Subject]:
    """A plugin by its distribution or package: itself, then all that it contributes; nothing if none is called so."""
    found: list[Subject] = []
    wanted = _normal(name)
    points = importlib.metadata.entry_points(group=PROJECT)
    for point in sorted(points, key=lambda one: one.name):
        status = _status_of(point)
        if status is not None and wanted in (_normal(_distribution(status)), _normal(point.value.split(":")[0])):
            found += [Subject("plugin", f"plugin:{_distribution(status)}", plugin=status)]
            found += [_of_contribution(one) for one in status.contributions]
    return found


def _status_of(point: importlib.metadata.EntryPoint) -> PluginStatus | None:
    owner = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    return next((one for one in registry().plugins if (one.name, one.distribution) == (point.name, owner)), None)


def _distribution(status: PluginStatus) -> str:
    return status.distribution.split()[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _kind_of(value: Any) -> Kind:
    for kind, module, attribute in BASES:
        base = getattr(importlib.import_module(module), attribute)
        if isinstance(value, base) or (inspect.isclass(value) and issubclass(value, base)):
            return kind
    raise PluginError(
        f"What {value!r} is cannot be told from its class; say so with `kind`, one of {', '.join(KINDS)}."
    )
