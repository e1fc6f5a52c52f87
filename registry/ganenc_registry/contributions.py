"""What plugins contribute: names of things, with the place each is imported from when it is first used."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ganenc_registry.containing import contained, reason
from ganenc_registry.errors import PluginError, nearest

__all__ = ["KINDS", "Contribution", "Kind"]

Kind: TypeAlias = Literal[
    "generator",
    "block",
    "encoder",
    "attention",
    "loss",
    "backbone",
    "aligner",
    "inverter",
    "recipe",
    "operator",
    "finder",
    "metric",
    "model",
    "runner",
    "command",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")


@dataclass(frozen=True)
class Contribution:
    """One named thing: listing it imports nothing, resolving it imports its target. `PluginError` for a wrong field."""

    kind: Kind
    """What it is: one of ``KINDS``."""
    name: str
    """What users call it: lower case, digits, dot, dash, plus and underscore."""
    summary: str
    """One line for lists."""
    target: str
    """Where it is imported from: ``package.module:attribute``."""

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise PluginError(f"The contribution {self.kind} {self.name!r} is wrong: {wrong}.")

    def _wrong(self) -> str:
        texts = {"kind": self.kind, "name": self.name, "summary": self.summary, "target": self.target}
        for field, value in texts.items():
            if not isinstance(value, str):
                return f"{field} takes text, not {value!r}"
        if self.kind not in KINDS:
            return f"there is no kind {self.kind!r}{nearest(self.kind, KINDS)}; kinds are {', '.join(KINDS)}"
        if not _NAME.fullmatch(self.name):
            return "a name is lower-case letters, digits, '.', '-', '+' and '_', and begins with a letter or digit"
        if not self.summary.strip() or "\n" in self.summary:
            return f"the summary is one line of text, not {self.summary!r}"
        module, _, attribute = self.target.partition(":")
        if not all(step.isidentifier() for step in [*module.split("."), *attribute.split(".")]):
            return f"a target reads 'package.module:attribute', not {self.target!r}"
        return ""

    def resolve(self) -> Any:
        """Import the target; `PluginError` if the module or the attribute is not there, or importing it fails."""
        module, _, attribute = self.target.partition(":")
        try:
            with contained():
                value: Any = importlib.import_module(module)
                for step in attribute.split("."):
                    value = getattr(value, step)
        except Exception as error:
            raise PluginError(
                f"The {self.kind} {self.name!r} cannot be imported from {self.target}: {reason(error)}."
            ) from error
        return value
