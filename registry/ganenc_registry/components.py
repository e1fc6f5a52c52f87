"""Components: what is registered and can be chosen in a spec, built from its options and a context. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from typing_extensions import Self

from ganenc_registry.contributions import Kind
from ganenc_registry.errors import PluginError, SpecError
from ganenc_registry.plain_data import parse_yaml
from ganenc_registry.registry import registry
from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.encoder import BlockSpec, EncoderSpec
from ganenc_registry.specs.generator import GeneratorSpec
from ganenc_registry.specs.sizes import MANY

__all__ = [
    "Component",
    "Context",
    "NoOptions",
    "build",
    "component_class",
    "option_rows",
    "read_options",
    "speed_options",
    "written_choices",
]

C = TypeVar("C", bound="Component")


@dataclass(frozen=True)
class Context:
    """What a component is built for. All that it may know besides its options."""

    generator: GeneratorSpec | None = None
    """The generator whose images it works on; None where there is none, as for photos by themselves."""
    value_range: tuple[float, float] = (-1.0, 1.0)
    """The values of black and white in the images."""
    device: str = "cpu"
    block: BlockSpec | None = None
    """The place in an encoder that a block is built for."""
    encoder_spec: EncoderSpec | None = None
    """The encoder that a network in place of blocks is built for."""
    attention: Choice | None = None
    """Where the objective looks, for what looks there unless it is told otherwise."""
    load_backbone: Callable[[], Any] | None = None
    """Loads the frozen network behind LPIPS and Grad-CAM."""

    @cached_property
    def backbone(self) -> Any:
        """The backbone, loaded when it is first asked for; `PluginError` if none was chosen."""
        if self.load_backbone is None:
            raise PluginError("A backbone is needed here and none was chosen; name one.")
        return self.load_backbone()


class NoOptions(Spec):
    """No options."""


class Component:
    """What every block, network, attention, loss, backbone, aligner, inverter, recipe, operator, finder, metric and
    runner is.

    A subclass declares what users can choose as a nested pydantic model, with a default and a description each::

        class Charbonnier(Loss):
            class Options(Spec):
                epsilon: float = Field(0.001, gt=0, description="below it, differences count squared")

    and finds the values in ``self.options`` (by default all defaults), and what it works on in ``self.context``.
    """

    Options: ClassVar[type[Spec]] = NoOptions
    pictures_only: ClassVar[bool] = False
    """Whether a loss, metric or attention makes sense of pictures alone, so that it is left out for generators of
    signals and tiles (see `GeneratorSpec.shows`)."""

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__()  # Of the other bases, such as torch's modules.
        self.options: Any = self.Options() if options is None else options
        self.context = context or Context()

    @classmethod
    def of(cls, context: Context | None = None, /, **options: Any) -> Self:
        """Built from options by name; `SpecError` names a wrong option, and the nearest right one."""
        return cls(cls.Options(**options), context)


def component_class(kind: Kind, name: str, base: type[C]) -> type[C]:
    """The class that is registered under a name; `UnknownNameError` if there is none, `PluginError` if it cannot be
    imported, or is no subclass of ``base``."""
    found = registry().resolve(kind, name)
    if not (isinstance(found, type) and issubclass(found, base)):
        owner = registry().owner(kind, name)
        raise PluginError(f"The {kind} {name!r} (of {owner}) is {found!r}; it has to be a subclass of {base.__name__}.")
    return found


def read_options(kind: Kind, choice: Choice | str, base: type[Component] = Component, *, at: str = "") -> Spec:
    """The options of a choice, checked, without building anything; the errors are those of `build`."""
    name, options = (choice, {}) if isinstance(choice, str) else (choice.name, choice.options)
    model = component_class(kind, name, base).Options
    return model.from_mapping(options, where=f"the {kind} {name}", at=f"{at}.options" if at else "")


def build(kind: Kind, choice: Choice | str, base: type[C], context: Context | None = None, *, at: str = "") -> C:
    """Build a registered component, a subclass of ``base``; ``at`` is the path of the choice in its spec, such as
    ``objective.attention``, for errors: those of `component_class`, and `SpecError` that names each wrong option by its
    whole path, and the nearest right one."""
    name = choice if isinstance(choice, str) else choice.name
    return component_class(kind, name, base)(read_options(kind, choice, base, at=at), context)


def written_choices(kind: Kind, text: str) -> list[Choice]:
    """Components as they are written on one line, ``name``, ``name:value`` or ``name:option=value,option=value``, with
    ``|`` between; a value by itself is of the first option, and ``=`` stands for ``:``. Values are YAML, numbers with
    commas between a list. `UnknownNameError` if there is none of a name, `SpecError` for a wrong option."""
    found = []
    for word in text.split("|"):
        (name, rest), options = _WRITTEN.fullmatch(word.strip()).groups(), dict[str, Any]()  # type: ignore[union-attr]
        fields = [*component_class(kind, name, Component).Options.model_fields]
        for place, part in enumerate(_PARTS.split(rest) if rest else []):
            option, sign, value = part.partition("=")
            if not sign or not option.isidentifier():
                if place or not fields:
                    raise SpecError(f"{word.strip()}: {part!r} names no option of {name}; write OPTION=VALUE.")
                option, value = fields[0], part
            options[option] = _value(value)
        choice = Choice(name=name, options=options)
        read_options(kind, choice)
        found.append(choice)
    return found


_WRITTEN = re.compile(r"([^:=]*)(?:[:=](.*))?", re.DOTALL)
_PARTS = re.compile(r",(?=[A-Za-z_]\w*=)")
_NUMBERS = re.compile(r"[\d.eE+-]+(,[\d.eE+-]+)+")


def _value(text: str) -> Any:
    """What a word says; what YAML has no value for, such as #ff00ff or ?, as it stands."""
    try:
        found = parse_yaml(f"[{text}]" if _NUMBERS.fullmatch(text) else text)
    except ValueError:
        return text
    return text if found is None or isinstance(found, dict) else found


def speed_options(options: type[Spec]) -> set[str]:
    """The options that change how fast it goes, and results not beyond rounding; their fields say so, by
    ``json_schema_extra={"speed": True}``."""
    extras = {name: field.json_schema_extra for name, field in options.model_fields.items()}
    return {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("speed")}


def option_rows(options: type[Spec]) -> list[Mapping[str, Any]]:
    """The fields of an options model: name, type with bounds, whether required, default as plain data, description."""
    rows: list[Mapping[str, Any]] = []
    for name, field in options.model_fields.items():
        bounds = [
            f"{sign} {getattr(one, of)}"
            for one in field.metadata
            for of, sign in _SIGNS.items()
            if getattr(one, of, MANY) != MANY
        ]
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        rows.append({
            "name": name,
            "type": " ".join(filter(None, [_type_text(field.annotation), ", ".join(bounds)])),
            "required": field.is_required(),
            "default": default.to_mapping() if isinstance(default, Spec) else default,
            "description": field.description or "",
        })  # fmt: skip
    return rows


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _type_text(annotation: Any) -> str:
    """A type as people read it: ``int | null``, ``mean | max``, ``tuple[float, ...]``."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, inner))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type_text, inner))
    if get_origin(annotation) is Annotated:
        return _type_text(inner[0])
    if inner:
        return f"{get_origin(annotation).__name__}[{', '.join(map(_type_text, inner))}]"
    known = {type(None): "null", Ellipsis: "..."}
    return known[annotation] if annotation in known else str(getattr(annotation, "__name__", annotation))
