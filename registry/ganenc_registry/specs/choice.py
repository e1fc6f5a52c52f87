"""How a component is written in a spec: its name, or its name and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from ganenc_registry.specs.base import Spec

__all__ = ["Choice"]


class Choice(Spec):
    """A registered component: ``name``, or ``{name: ..., options: {...}}``."""

    name: str = Field(description="what it is registered under")
    options: dict[str, Any] = Field(default_factory=dict, description="its options, by name")

    @classmethod
    def of(cls, named: str | Mapping[str, Any] | Choice, *, at: str = "") -> Choice:
        """What people write: a name, ``{"name": ..., "options": {...}}``, or a choice; else `SpecError`, with the path
        ``at``."""
        return (
            named
            if isinstance(named, Choice)
            else cls.from_mapping({"name": named} if isinstance(named, str) else named, at=at)
        )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data
