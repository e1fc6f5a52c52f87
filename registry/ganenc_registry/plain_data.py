"""JSON and YAML from anywhere, read as plain data of bounded size. Importing this imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import yaml

from ganenc_registry.opening import LARGEST

__all__ = ["MOST", "parse_json", "parse_yaml", "to_integer", "to_integers", "yaml_text"]

MOST = 1000
"""The most layers, blocks or maps of a network."""
_LONGEST_YAML = 1 << 20  # characters, which take some seconds
_MOST_VALUES, _DEEPEST, _DIGITS = 1 << 22, 100, 100
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML's core schema (1.2), in which ``on`` and ``2024-12-01`` are texts and ``1e-3`` is a number."""

    def fetch_flow_collection_start(self, kind: Any) -> None:
        """Look no further ahead, which takes time, where brackets are too deep already."""
        if self.flow_level > _DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(kind)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge no mappings by ``<<``, which is no more in YAML 1.2."""

    def integer(self, node: Any) -> int:
        """A whole number of bounded length."""
        return to_integer(self.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that either version of YAML reads as something else."""


_FLOAT = r"[-+]?((\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
_SCHEMA = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}
"""What a text without quotes has to look like to be something else, and the characters it begins with."""
_KEPT = {None, *(f"{_TAG}{kind}" for kind in ("str", "seq", "map", *_SCHEMA))}
_Loader.yaml_constructors = {tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in _KEPT}
_Loader.add_constructor(f"{_TAG}int", _Loader.integer)
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _SCHEMA.items():
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_json(text: str) -> Any:
    """What a JSON text holds. `ValueError`, its text a clause, if it is none, or too long, too deep or too large."""
    return _parse(text, LARGEST, lambda: _JSON.decode(text))


def parse_yaml(text: str) -> Any:
    """What a text in YAML's core schema holds: mappings, lists, texts, numbers, true, false and null. `ValueError`, its
    text a clause, if it is none, or too long, too deep or, its aliases written out, too large."""
    return _parse(text, _LONGEST_YAML, lambda: yaml.load(text, _Loader))


def yaml_text(data: Any) -> str:
    """Plain data as a text that `parse_yaml` reads, mappings in their order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def yaml_line(data: Any) -> str:
    """Plain data as YAML on one line."""
    written = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=1 << 20
    )
    return str(written).removesuffix("...\n").strip()


def to_integer(text: str) -> int:
    """The number that a text of digits is; `ValueError` if it is none, or has too many."""
    if len(text) > _DIGITS:
        raise ValueError(f"it holds a number of {len(text)} digits")
    return int(text)


def to_integers(text: str) -> list[int]:
    """The numbers of 0 or more that a text has with commas between; `ValueError`, a clause, if it is another text."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise ValueError(
            f"whole numbers of 0 or more, nine digits at most, with commas between, such as 3 or 0,4,4; got {text!r}"
        )
    return [int(word) for word in words]


_JSON = json.JSONDecoder(parse_int=to_integer)


def _parse(text: str, longest: int, parse: Callable[[], Any]) -> Any:
    if len(text) > longest:
        raise ValueError(f"it is longer than the {longest:,} characters that are read")
    try:
        data = parse()
        _check_size(data)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} deep") from None
    except KeyError as error:  # What PyYAML raises where a value is tagged as true or false, and is neither.
        raise ValueError(f"{error} is not what its tag says") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace('"<unicode string>", ', "").split())) from None
    return data


def _check_size(data: Any) -> None:
    """Raise an error if data are nested too deep, or hold too many values where what they share is written out."""
    left, level = _MOST_VALUES, [data]
    for _ in range(_DEEPEST):
        level = [one for one in level if isinstance(one, dict | list) and one]
        if not level:
            return
        left -= sum(map(len, level))
        if left < 0:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    raise RecursionError
