"""Fields and options by path: each is reached, and a wrong one is answered with the nearest that is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ganenc_registry import registry
from ganenc_registry.components import Component
from ganenc_registry.errors import SpecError, UnknownNameError
from ganenc_registry.fields import changed, check_choices, choices, field_paths
from ganenc_registry.specs import Choice, InvertSpec, ObjectiveSpec, Spec
from pydantic import Field


class Stroll(Component):
    """An inverter by name alone."""

    class Options(Spec):
        pace: float = 1.0
        stops: int = Field(3, ge=0)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """The registry with the toy inverter in it, as it was afterwards."""
    before = dict(registry()._entries)
    registry().add_value("inverter", "stroll", Stroll)
    yield
    registry()._entries.clear()
    registry()._entries.update(before)


STROLL = InvertSpec(method="stroll")
NONE = {"attention": {"name": "none"}}


def test_a_job_is_data_and_comes_back_from_json_and_yaml() -> None:
    spec = InvertSpec(
        model="m", photos=("a", "b"), method={"name": "stroll", "options": {"pace": 2.0}}, labels=(1, 2),
        candidates=(0, 3), align="center", objective={"losses": {"mse": 1.0}},
    )  # fmt: skip
    assert spec.method == Choice(name="stroll", options={"pace": 2.0})
    assert InvertSpec.from_yaml(spec.to_yaml()) == InvertSpec.from_json(spec.to_json()) == spec
    assert InvertSpec.from_yaml("labels: folders").labels == "folders"


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("seed", 4, lambda spec: spec.seed),
        ("method.options.pace", 0.5, lambda spec: spec.method.options["pace"]),
        ("align", "center", lambda spec: spec.align.name),
        ("objective.losses.mse", 2.5, lambda spec: spec.to_mapping()["objective"]["losses"]["mse"]),
        ("objective.attention.name", "none", lambda spec: spec.objective.attention.name),
        ("objective", NONE, lambda spec: {"attention": {"name": spec.objective.attention.name}}),
    ],
)
def test_every_field_is_reached_by_its_path(path: str, value: Any, found: Any) -> None:
    reached = found(changed(STROLL, {path: value}))
    assert value in (reached, reached.get("weight") if isinstance(reached, dict) else None)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("pace", "--set pace: there is no such field (did you mean 'method.options.pace'?)"),
        ("pcae", "did you mean 'method.options.pace'?"),
        ("sed", "did you mean 'seed'?"),
        ("lpips", "did you mean 'objective.losses.lpips'?"),
        ("objective.attention.nam", "objective.attention.nam: there is no such field (did you mean 'name'?)"),
        ("seed.more", "'seed' is a value, so it has no fields"),
        ("align.options.margin", "align.name: this field is required"),
    ],
)
def test_a_wrong_path_is_answered_with_the_nearest(path: str, said: str) -> None:
    with pytest.raises(SpecError) as told:
        changed(STROLL, {path: 1})
    assert said in str(told.value)


def test_another_name_leaves_the_options_of_the_former_behind() -> None:
    spec = changed(STROLL, {"method": {"options": {"pace": 3.0}}})
    assert changed(spec, {"method.name": "stroll"}).method == spec.method
    for values in ({"method": {"options": {"x": 1}, "name": "run"}}, {"method.options.x": 1, "method.name": "run"}):
        assert changed(spec, values).method == Choice(name="run", options={"x": 1})


def test_options_are_checked_by_their_whole_path_with_nothing_built() -> None:
    check_choices(STROLL)
    for options, said in (
        ({"pac": 1}, "method.options.pac: there is no such field (did you mean 'pace'?)"),
        ({"stops": -1}, "method.options.stops: input should be greater than or equal to 0 (got -1)"),
    ):
        with pytest.raises(SpecError) as told:
            check_choices(InvertSpec(method={"name": "stroll", "options": options}))
        assert said in str(told.value)
    with pytest.raises(UnknownNameError, match=r"no inverter 'strol' \(did you mean 'stroll'\?\)"):
        check_choices(InvertSpec(method="strol"))


def test_paths_name_the_options_of_what_is_chosen_or_else_of_all_that_could_be() -> None:
    assert {"method.options.pace", "method.options.stops", "objective.losses.mse"} <= set(field_paths(STROLL))
    assert "method.options.pace" in field_paths(InvertSpec())
    assert [(path, kind) for path, kind, _ in choices(InvertSpec()) if "." not in path] == [
        ("align", "aligner"),
        ("method", "inverter"),
    ]


def test_another_name_takes_other_options_and_a_number_is_a_weight() -> None:
    losses = {"mse": {"weight": 2, "options": {}}, "again": {"name": "mse", "weight": 3}}
    spec = ObjectiveSpec(losses=losses, attention={"name": "center", "options": {"weights": [5, 9]}})
    found = changed(spec, {"attention.name": "none", "losses.again": 7})
    assert found.attention == Choice(name="none")
    assert (found.losses["again"].name, found.losses["again"].weight) == ("mse", 7.0)
    assert changed(spec, {"attention.options.weights": [1, 2]}).attention.options == {"weights": [1, 2]}
