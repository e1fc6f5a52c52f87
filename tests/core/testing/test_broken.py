"""What is broken on purpose fails the check that names its fault, in one sentence, and what it is made from passes."""

from __future__ import annotations

from typing import Any

import pytest
from broken.generators import BROKEN_GENERATORS
from broken.parts import BROKEN_ATTENTIONS, BROKEN_BACKBONES, BROKEN_BLOCKS, BROKEN_LOSSES
from broken.uses import (
    BROKEN_ALIGNERS,
    BROKEN_COMMANDS,
    BROKEN_FINDERS,
    BROKEN_INVERTERS,
    BROKEN_METRICS,
    BROKEN_OPERATORS,
    BROKEN_RECIPES,
    Halved,
)
from ganenc.testing import CheckFailed, check, check_operator, checks_of

TABLES: dict[str, list[tuple[Any, str]]] = {
    "generator": BROKEN_GENERATORS,
    "block": BROKEN_BLOCKS,
    "attention": BROKEN_ATTENTIONS,
    "loss": BROKEN_LOSSES,
    "backbone": BROKEN_BACKBONES,
    "aligner": BROKEN_ALIGNERS,
    "inverter": BROKEN_INVERTERS,
    "operator": BROKEN_OPERATORS,
    "recipe": BROKEN_RECIPES,
    "finder": BROKEN_FINDERS,
    "metric": BROKEN_METRICS,
    "command": BROKEN_COMMANDS,
}
CASES = [
    pytest.param(kind, broken, name, id=f"{kind}-{broken.__name__}-{name}")
    for kind, rows in TABLES.items()
    for broken, name in rows
]
UNBROKEN = {
    "generator": {"spec-names-its-family"},  # in test_kit.py, with a registered one
    "backbone": {"name-is-the-registered-one"},  # likewise
    "aligner": {"transform-comes-back-from-json", "transform-can-be-undone"},  # a Transform can not be broken
}
"""Checks that no class in the tables breaks."""


@pytest.mark.parametrize(("kind", "broken", "name"), CASES)
def test_the_check_that_names_the_fault_fails(kind: Any, broken: Any, name: str) -> None:
    (outcome,) = check(broken, kind=kind, only=[name], on_fail="return")
    assert outcome.result == "failed", outcome
    assert outcome.check.name == name
    assert "\n" not in outcome.sentence
    assert len(outcome.sentence) > 20


@pytest.mark.parametrize("kind", TABLES)
def test_every_check_is_broken_by_something(kind: Any) -> None:
    known = {one.name for one in checks_of(kind)}
    broken = {name for _, name in TABLES[kind]}
    assert known - broken == UNBROKEN.get(kind, set())


def test_failures_raise_with_one_sentence_for_each() -> None:
    broken = {name: one for one, name in BROKEN_LOSSES}["range-changes-nothing"]
    with pytest.raises(
        CheckFailed, match=r"^loss:OneRange fails range-changes-nothing: For images of the range"
    ) as told:
        check(broken, only=["range-changes-nothing", "one-number-a-sample"])
    assert str(told.value).count("\n") == 0


def test_an_operator_that_keeps_to_its_contract_passes() -> None:
    assert all(outcome.result in ("passed", "skipped") for outcome in check_operator(Halved))
