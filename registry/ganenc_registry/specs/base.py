"""What every spec shares: strict fields, JSON and YAML both ways, errors that name the wrong field and the nearest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.opening import LARGEST, read_text
from ganenc_registry.plain_data import parse_json, parse_yaml, yaml_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Spec", "read_mapping"]

S = TypeVar("S", bound="Spec")
_MOST_CLAUSES = 10
"""How many faults an error names."""


class Spec(BaseModel):
    """A frozen, strict piece of data. Unknown fields are errors; the same spec comes back from JSON and YAML."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), validate_default=True, allow_inf_nan=False
    )

    def __init__(self, /, **fields: Any) -> None:
        """Build a spec from its fields; `SpecError` as for `from_mapping`."""
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(_sentence(type(self), error, "")) from None

    # What is validated as a part of something else does not come through here, so its error keeps the whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_mapping(cls: type[S], data: Mapping[str, Any], *, where: str = "", at: str = "") -> S:
        """Validate fields by name, as JSON or YAML gives them, from a file or place ``where``; ``at`` is their path in
        a larger spec. `SpecError` names each wrong field by its path, the allowed values, and the nearest spelling."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(_sentence(cls, error, where, at)) from None

    @classmethod
    def from_json(cls: type[S], text: str, *, where: str = "") -> S:
        """Read the spec from JSON text."""
        return cls.from_mapping(_mapping(parse_json, text, "JSON", where), where=where)

    @classmethod
    def from_yaml(cls: type[S], text: str, *, where: str = "") -> S:
        """Read the spec from YAML text (which JSON is, too)."""
        return cls.from_mapping(_mapping(parse_yaml, text, "YAML", where), where=where)

    @classmethod
    def from_file(cls: type[S], path: str | Path) -> S:
        """Read the spec from a ``.json``, ``.yaml`` or ``.yml`` file."""
        return cls.from_mapping(read_mapping(path), where=str(path))

    def to_mapping(self) -> dict[str, Any]:
        """The spec as plain data, every field written out: lists, mappings, text, numbers."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The spec as indented JSON text."""
        return json.dumps(self.to_mapping(), indent=2) + "\n"

    def to_yaml(self) -> str:
        """The spec as YAML text, fields in their order."""
        return yaml_text(self.to_mapping())


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds one mapping; `SpecError` if it is missing or holds something else."""
    path = Path(path)
    try:
        text = read_text(path, LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text of a bounded length"
        raise SpecError(f"The spec {path} cannot be read: {reason}.") from None
    parse, form = (parse_json, "JSON") if path.suffix == ".json" else (parse_yaml, "YAML")
    return _mapping(parse, text, form, str(path))


def _mapping(parse: Callable[[str], Any], text: str, form: str, where: str) -> dict[str, Any]:
    try:
        data = parse(text)
    except ValueError as error:
        raise SpecError(f"{_place(where)}this is not {form} that can be read: {error}.") from None
    if not isinstance(data, dict):
        raise SpecError(f"{_place(where)}a spec is a mapping of fields; this holds {type(data).__name__}.")
    return data


def _place(where: str) -> str:
    return f"In {where}: " if where else ""


def _sentence(cls: type[BaseModel], error: ValidationError, where: str, at: str = "") -> str:
    clauses = [_clause(cls, item, at) for item in error.errors(include_url=False)[:_MOST_CLAUSES]]
    more = error.error_count() - len(clauses)
    return f"{_place(where)}{'; '.join(clauses)}{f'; and {more:,} more faults' if more else ''}."


def _clause(cls: type[BaseModel], item: ErrorDetails, at: str = "") -> str:
    """What is wrong with one field, where, and what it takes."""
    steps, models = _walk(cls, item["loc"])
    path = ".".join([*filter(None, [at]), *steps]) or "the spec"
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        _, models = _walk(cls, item["loc"][:-1])
        known = {name for model in models for name in model.model_fields}
        return f"{path}: there is no such field{nearest(steps[-1], known)}; {_known(known)}"
    if kind in ("literal_error", "union_tag_invalid"):
        allowed = str(context.get("expected", context.get("expected_tags")))
        value = context.get("tag", item["input"])
        hint = nearest(str(value), [name.strip(" '") for name in allowed.replace(" or ", ",").split(",")])
        return f"{path}: {value!r} is not allowed{hint}; it takes {allowed}"
    if kind == "union_tag_not_found":
        return f"{path}.kind: this field is required; it takes {', '.join(repr(_tag(model)) for model in models)}"
    if kind == "missing":
        return f"{path}: this field is required"
    got = f" (got {_short(item['input'])})" if steps else ""
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{path}: it takes a mapping of fields{got}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message[:1].lower() + message[1:]}{got}"


def _known(names: set[str]) -> str:
    return f"the fields here are {', '.join(sorted(names))}" if names else "there are no fields here"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The path that a user knows for ``loc``, without pydantic's tags of unions, and the models that can be there."""
    path: list[str] = []
    models: list[type[BaseModel]] = [cls]
    for step in loc:
        tagged = [model for model in models if _tag(model) == step] if len(models) > 1 else []
        if tagged:
            models = tagged
            continue
        path.append(str(step))
        fields = [model.model_fields[step] for model in models if isinstance(step, str) and step in model.model_fields]
        if fields:
            models = [model for field in fields for model in _models_in(field.annotation)]
    return path, models


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return field.default if field else None


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]
