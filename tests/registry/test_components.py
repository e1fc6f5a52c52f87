"""Components: built from options and a context, wrong options named by their path, and listed from the model itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from ganenc_registry import Contribution, Registry, components
from ganenc_registry.components import Component, Context, build, component_class, option_rows, read_options
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError
from ganenc_registry.specs import Choice, Spec
from pydantic import Field


class Weighing(Component):
    """A component of these tests."""

    class Options(Spec):
        """What it takes."""

        rate: float = Field(0.1, gt=0, le=1, description="how fast")
        how: Literal["mean", "max"] = "mean"
        steps: int | None = None
        pair: tuple[float, ...] = (1.0, 2.0)
        size: Annotated[int, Field(ge=1)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    found.add_value("loss", "weighing", Weighing)
    found.add_value("loss", "a-function", lambda: None, summary="No component")
    found.add_all([Contribution("loss", "absent", "Not there", "nobody:X")], owner="a test")
    monkeypatch.setattr(components, "registry", lambda: found)
    return found


def test_a_component_is_built_from_a_name_or_a_choice(installed: Registry) -> None:
    context = Context(value_range=(0.0, 1.0))
    made = build("loss", Choice(name="weighing", options={"size": 3, "how": "max"}), Weighing, context)
    assert (made.options.size, made.options.how, made.context.value_range) == (3, "max", (0.0, 1.0))
    assert Weighing.of(size=2).options == Weighing.Options(size=2)
    assert Component().options.to_mapping() == {}


def test_a_wrong_option_is_named_by_its_whole_path(installed: Registry) -> None:
    wrong = Choice(name="weighing", options={"size": 1, "rte": 0.2})
    with pytest.raises(SpecError, match=r"losses\.mine\.options\.rte: .*'rate'"):
        read_options("loss", wrong, at="losses.mine")
    with pytest.raises(SpecError, match=r"losses\.mine\.options\.rate"):
        build("loss", Choice(name="weighing", options={"size": 1, "rate": 2}), Weighing, at="losses.mine")


def test_what_is_no_component_of_the_kind_is_told(installed: Registry) -> None:
    with pytest.raises(PluginError, match="it has to be a subclass of Weighing"):
        component_class("loss", "a-function", Weighing)
    with pytest.raises(UnknownNameError, match="did you mean 'weighing'"):
        build("loss", "weihing", Weighing)
    with pytest.raises(PluginError, match="nobody"):
        build("loss", "absent", Weighing)


def test_a_backbone_is_loaded_once_when_it_is_asked_for() -> None:
    asked: list[int] = []
    context = Context(load_backbone=lambda: asked.append(1) or "network")
    assert asked == []
    assert (context.backbone, context.backbone, asked) == ("network", "network", [1])
    with pytest.raises(PluginError, match="A backbone is needed"):
        _ = Context().backbone


def test_options_are_listed_as_they_are_declared() -> None:
    rows: dict[str, Any] = {row["name"]: row for row in option_rows(Weighing.Options)}
    assert rows["rate"] == {
        "name": "rate", "type": "float > 0, <= 1", "required": False, "default": 0.1, "description": "how fast",
    }  # fmt: skip
    assert {name: row["type"] for name, row in rows.items() if name != "rate"} == {
        "how": "mean | max", "steps": "int | null", "pair": "tuple[float, ...]", "size": "int >= 1",
    }  # fmt: skip
    assert [name for name, row in rows.items() if row["required"]] == ["size"]
