"""JSON and YAML from anywhere: what they hold, or one clause that says why it is not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ganenc_registry.errors import SpecError
from ganenc_registry.plain_data import parse_json, parse_yaml, yaml_text
from ganenc_registry.specs import InvertSpec, RunSpec

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
WRONG = {
    "[" * 3000 + "]" * 3000: "nested",
    '{"a":' * 3000 + "1" + "}" * 3000: "nested",
    "[" * 101 + "]" * 101: "nested",
    "9" * 5000: "5000 digits",
    f"[-{'9' * 5000}]": "5001 digits",
    "[" + "0," * (1 << 23) + "0]": "longer than",
    "[": "line 1",
}
WRONG_YAML = {
    "!!int foo": "foo",
    "!!int [1]": "scalar",
    "!!bool foo": "'foo' is not what its tag says",
    "!!timestamp 2024-13-45": "timestamp",
    "!!python/object:os.system true": "tag",
    "? [a]\n: b": "unhashable",
    "&a [*a]": "nested",
    LAUGHS: "values",
    LAUGHS.replace("[x, x, x, x, x, x, x, x, x]", "{k: x}").replace("[*", "\n  <<: [*"): "values",
    "? " * 9000: "nested",
    "\0": "character",
}


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        *((parse_json, text, reason) for text, reason in WRONG.items()),
        *((parse_yaml, text, reason) for text, reason in (WRONG | WRONG_YAML).items()),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_too_deep_too_large_or_wrong_is_one_clause(parse: Callable[[str], Any], text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as told:
        parse(text)
    assert type(told.value) is ValueError or parse is parse_json  # The parser's own error knows the place, too.
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("read", "form"), [(RunSpec.from_yaml, "YAML"), (InvertSpec.from_json, "JSON")])
@pytest.mark.parametrize("text", ["[" * 3000, "9" * 5000])
def test_a_spec_says_where_it_stands(read: Callable[..., Any], form: str, text: str) -> None:
    with pytest.raises(SpecError, match=rf"In my\.file: this is not {form} that can be read: it "):
        read(text, where="my.file")


def test_yaml_is_that_of_the_core_schema() -> None:
    texts = ["on", "yes", "2024-13-45", "2024-12-01", "1:30", "0x10", "1_000", "=", "<<"]
    assert parse_yaml(f"[{', '.join(texts)}]") == texts
    assert parse_yaml("[1e-3, .5, 010, -1, ~, null, True, .inf]") == [
        0.001,
        0.5,
        10,
        -1,
        None,
        None,
        True,
        float("inf"),
    ]
    assert parse_yaml("a: &a [1]\nb: *a\n<<: {c: 1}") == {"a": [1], "b": [1], "<<": {"c": 1}}


@pytest.mark.parametrize(
    "value", ["on", "NO", "1e3", "010", "08", "2024-12-01", "1:30", "~", "", "<<", "é", 1e-5, None, 3]
)
def test_what_is_written_is_read_by_this_and_by_older_readers(value: object) -> None:
    text = yaml_text({"value": value})
    assert parse_yaml(text) == yaml.safe_load(text) == {"value": value}


def test_json_of_any_kind_is_read() -> None:
    data = {"a": [1, -2.5, True, None, "é\ud800"], "b": {"c": 10**30}, "d": [[]] * 9}
    assert parse_json(json.dumps(data)) == data
