"""What an inversion is for, and as many steps as there is time for: on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ganenc.inversion import default_method, plan, step_cost
from ganenc_registry.errors import SpecError
from toys import make_objective, small_encoder

START, STEP = 0.5, 0.125
"""Seconds that any inversion takes on the clock, and each of its steps besides."""


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def invert(images: Any, generator: Any, encoder: Any, method: Any, **given: Any) -> None:
        now[0] += START + STEP * method["options"]["steps"]

    monkeypatch.setattr("ganenc.inversion.planning.invert", invert)
    monkeypatch.setattr("ganenc.inversion.planning.time", SimpleNamespace(perf_counter=lambda: now[0]))


def test_without_a_time_it_is_the_default_for_the_purpose(toy: Any) -> None:
    encoder = small_encoder(toy)
    assert plan(toy, encoder).name == default_method(True)["name"] == "tune"
    assert plan(toy, encoder, purpose="rebuild").name == "finetune+refine"
    assert plan(toy).name == plan(toy, purpose="rebuild").name == "optimize"
    edit = plan(toy, encoder, purpose="edit")
    assert edit.name == "tune"
    assert edit.options["edits"] > 0.3
    assert plan(toy, encoder, "encode", purpose="edit").name == "encode"


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize(("seconds", "steps"), [(0.1, 2), (0.75, 2), (20, 156), (60.0, 476)])
def test_steps_fill_the_time(toy: Any, seconds: float, steps: int) -> None:
    """As many as end before: (seconds - 0.5) / 0.125."""
    found = plan(toy, None, {"name": "optimize", "options": {"rate": 0.2}}, seconds=seconds)
    assert found.to_mapping() == {"name": "optimize", "options": {"rate": 0.2, "steps": steps}}


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize(("seconds", "name"), [(5.0, "newton"), (55.0, "newton"), (60.0, "finetune+refine")])
def test_rebuilding_takes_what_is_ahead_at_its_steps(toy: Any, seconds: float, name: str) -> None:
    assert plan(toy, small_encoder(toy), purpose="rebuild", seconds=seconds).name == name


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"purpose": "speed"}, "one of both, rebuild, edit"),
        ({"seconds": -1.0}, "above 0, not -1"),
        ({"seconds": float("nan")}, "above 0, not nan"),
    ],
)
def test_what_no_plan_can_be_made_for_is_told(toy: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        plan(toy, **given)


def test_steps_that_are_hidden_by_what_goes_on_around_them() -> None:
    noise = iter([0.0, 0.5, 0.0, 0.2, 0.0, 0.3, 0.0])
    step, around, seen = step_cost(lambda steps: 8.0 + 0.125 * steps + next(noise), 60.0)
    assert seen
    assert step == pytest.approx(0.125, rel=0.1)
    assert around == pytest.approx(8.5, rel=0.1)


def test_what_takes_no_steps_fills_no_time(toy: Any) -> None:
    with pytest.raises(SpecError, match="'encode' takes no steps that could fill 5 seconds"):
        plan(toy, small_encoder(toy), "encode", seconds=5, objective=make_objective({"mse": 1.0}))


def test_the_clock_of_the_machine_plans_some_steps(toy: Any) -> None:
    found = plan(toy, small_encoder(toy), purpose="edit", seconds=0.5, objective=make_objective({"mse": 1.0}))
    assert found.name == "tune"
    assert found.options["steps"] >= 1


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize(("seconds", "name"), [(4.0, "newton"), (20.0, "tune")])
def test_tuning_takes_as_many_steps_as_gain(toy: Any, seconds: float, name: str) -> None:
    assert plan(toy, small_encoder(toy), seconds=seconds).name == name
    assert plan(toy, small_encoder(toy), purpose="edit", seconds=seconds).name == "tune"
