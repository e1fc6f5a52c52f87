"""What plugins contribute: names of things, with the place each is imported from when it is first used."""

from __future__ import annotations

import importlib
from typing import Any, Literal, TypeAlias, get_args

from pydantic import Field, field_validator

from ganenc_registry.errors import PluginError
from ganenc_registry.specs.base import Spec

__all__ = ["KINDS", "Contribution", "Kind"]

Kind: TypeAlias = Literal["generator", "block", "attention", "loss", "backbone", "inverter", "metric", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Contribution(Spec):
    """One named thing: listing it imports nothing, resolving it imports its target."""

    kind: Kind
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", description="lower case, digits, dot, dash, plus")
    summary: str = Field(min_length=1, description="one line for lists")
    target: str = Field(description="`package.module:attribute`")

    @field_validator("summary")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if "\n" in value:
            raise ValueError("the summary is one line")
        return value

    @field_validator("target")
    @classmethod
    def _importable(cls, value: str) -> str:
        module, _, attribute = value.partition(":")
        if not all(step.isidentifier() for step in [*module.split("."), *attribute.split(".")]):
            raise ValueError("a target reads 'package.module:attribute'")
        return value

    def resolve(self) -> Any:
        """Import the target and return it.

        Raises:
            PluginError: if the module or the attribute is not there, or importing it fails.
        """
        module, _, attribute = self.target.partition(":")
        try:
            value: Any = importlib.import_module(module)
            for step in attribute.split("."):
                value = getattr(value, step)
        except Exception as error:
            raise PluginError(
                f"The {self.kind} {self.name!r} cannot be imported from {self.target}: {type(error).__name__}: {error}."
            ) from error
        return value
