"""What a check is, and how it says that it failed. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

from ganenc_registry import Kind
from ganenc_registry.errors import GanencError

__all__ = ["Check", "CheckFailed", "CheckSkipped", "Outcome", "Scope", "Stage", "declare", "expect", "fail", "skip"]

Stage: TypeAlias = Literal["static", "import", "behaviour"]
"""``static`` reads what is declared, ``import`` imports it, ``behaviour`` builds and runs it."""
Scope: TypeAlias = Kind | Literal["contribution", "plugin"]
"""What a check is for: things of one kind, whatever is contributed, or a plugin as a whole."""


class CheckFailed(GanencError, AssertionError):
    """A check failed: one sentence that says what is wrong, what was expected, what was found, and how to mend it."""


class CheckSkipped(Exception):
    """A check does not apply here, or cannot run; the reason why."""


@dataclass(frozen=True)
class Check:
    """One named check.

    Attributes:
        name: what it is called, such as ``one-image-as-in-a-batch``.
        kind: what it is for.
        stage: when it runs.
        why: one line: what holds where it passes.
        run: the check itself; it takes the case that it is for, and raises :class:`CheckFailed` where it fails.
        gate: whether the checks after it make no sense where it fails, and are skipped.
    """

    name: str
    kind: Scope
    stage: Stage
    why: str
    run: Callable[[Any], None] = field(repr=False, compare=False)
    gate: bool = False


@dataclass(frozen=True)
class Outcome:
    """How one check went."""

    subject: str
    """What was checked."""
    check: Check
    result: Literal["passed", "failed", "skipped"]
    sentence: str = ""
    """Why it failed or was skipped; empty where it passed."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.result == "passed"

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.result == "failed"


def declare(
    kind: Scope, *functions: Callable[[Any], None], stage: Stage = "behaviour", gate: bool = False
) -> tuple[Check, ...]:
    """Make checks of functions: the name is the function's, the reason the first line of its docstring.

    Args:
        kind: what they are for.
        functions: each takes the case of its kind.
        stage: when they run.
        gate: whether the checks that come after are skipped where one of these fails.
    """
    return tuple(
        Check(
            name=function.__name__.replace("_", "-"),
            kind=kind,
            stage=stage,
            why=(function.__doc__ or "").strip().splitlines()[0],
            run=function,
            gate=gate,
        )
        for function in functions
    )


def expect(holds: object, sentence: str) -> None:
    """Raise :class:`CheckFailed` with the sentence unless it holds."""
    if not holds:
        raise CheckFailed(sentence)


def fail(sentence: str) -> NoReturn:
    """Raise :class:`CheckFailed`."""
    raise CheckFailed(sentence)


def skip(reason: str) -> NoReturn:
    """Raise :class:`CheckSkipped`."""
    raise CheckSkipped(reason)
