"""The fields of a spec, and the options of the components that it chooses, by path: ``method.options.rate``. No torch.

A field that holds a `Choice`, or a mapping of them, says of which kind in ``json_schema_extra={"kind": ...}``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from ganenc_registry.components import Component, component_class, read_options
from ganenc_registry.contributions import Kind
from ganenc_registry.errors import GanencError, SpecError
from ganenc_registry.registry import registry
from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.presets import merge

__all__ = ["changed", "check_choices", "choices", "field_paths"]

S = TypeVar("S", bound=Spec)


def choices(spec: Spec, *, at: str = "") -> Iterator[tuple[str, Kind, Choice | None]]:
    """Every component that a spec chooses, or may choose: its path, its kind, and the choice."""
    for name, field in type(spec).model_fields.items():
        extra = field.json_schema_extra
        kind = cast("Kind | None", extra.get("kind")) if isinstance(extra, dict) else None
        yield from _choices(getattr(spec, name), f"{at}{name}", kind)


def check_choices(spec: Spec, *, at: str = "") -> None:
    """Check the options of every component that a spec chooses, without building any; ``at`` is the path of its fields,
    with a dot at its end, for errors, which are those of `build`."""
    for path, kind, choice in choices(spec, at=at):
        if choice is not None:
            read_options(kind, choice, at=path)


def field_paths(spec: Spec) -> list[str]:
    """The paths of all fields, and of the options of all components; where none is chosen, of all that could be."""
    paths = list(_fields(spec, ""))
    for path, kind, choice in choices(spec):
        for name in registry().names(kind) if choice is None else [choice.name]:
            with suppress(GanencError):
                options = component_class(kind, name, Component).Options.model_fields
                paths += [f"{path}.options.{option}" for option in options]
    return list(dict.fromkeys(paths))


def changed(spec: S, values: Mapping[str, Any], *, where: str = "--set") -> S:
    """The spec with fields given anew, by path or nested as fields are; what has no place yet, such as an option that
    was not given, gets one.

    They are merged as `merge` does it: with another name, a component loses the options of the former. ``where`` they
    come from is for the error: `SpecError` if a path leads nowhere, with the nearest one, or a value is wrong.
    """
    tree = spec.to_mapping()
    for path, value in sorted(_flat(values), key=lambda item: item[0].rpartition(".")[2] != "name"):  # Names first.
        *above, last = path.split(".")
        if (above or [last])[0] not in type(spec).model_fields:
            raise SpecError(f"{where} {path}: there is no such field{_nearest(path, field_paths(spec))}.")
        node: Any = tree
        for step in above:
            if not isinstance(node, Mapping):
                break
            node = node.get(step)
            if not isinstance(node, Mapping | None):
                raise SpecError(f"{where} {path}: {step!r} is a value, so it has no fields.")
        over = {last: value}
        for step in reversed(above):
            over = {step: over}
        tree = merge(tree, over)
    return type(spec).from_mapping(tree, where=where)


def _flat(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings, by their paths."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def _choices(value: Any, path: str, kind: Kind | None) -> Iterator[tuple[str, Kind, Choice | None]]:
    if isinstance(value, Mapping | tuple):
        for key, one in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _choices(one, f"{path}.{key}", kind)
    elif kind and (value is None or isinstance(value, Choice)):
        yield path, kind, value
    elif isinstance(value, Spec):
        yield from choices(value, at=f"{path}.")


def _fields(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, Spec):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield f"{at}{name}"
            yield from _fields(one, f"{at}{name}.")


def _nearest(path: str, known: list[str]) -> str:
    """A hint at the known path that ends as a wrong one does, or is the closest."""
    ends = {one.rpartition(".")[2]: one for one in reversed(known)}
    close = difflib.get_close_matches(path.rpartition(".")[2], ends, n=1, cutoff=0.6)
    found = next((one for one in known if one.endswith(f".{path}")), ends[close[0]] if close else None)
    return f" (did you mean {found!r}?)" if found else ""
