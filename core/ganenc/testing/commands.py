"""The checks of a command: a function that typer can call, and that says what it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.testing import CliRunner

from ganenc.testing.checks import declare, expect, fail
from ganenc.testing.subjects import Subject

__all__ = ["CHECKS", "CommandCase"]


class CommandCase:
    """A command to check.

    Args:
        subject: its function.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @property
    def function(self) -> Callable[..., Any]:
        """The function that is registered."""
        found: Callable[..., Any] = self.subject.resolve()
        return found

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code and what is printed, called with these words."""
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(self.function)
        done = CliRunner().invoke(app, list(words), prog_name="command")
        return done.exit_code, done.output


def a_function_that_typer_calls(case: CommandCase) -> None:
    """It is a function whose arguments typer understands."""
    if not inspect.isfunction(case.function):
        fail(f"A command is a function, not {case.function!r}; contribute the function itself.")
    try:
        code, said = case.run("--help")
    except Exception as error:  # Typer refuses what it cannot read in many ways.
        fail(f"Typer cannot read its arguments: {' '.join(str(error).split())}.")
    expect(code == 0, f"With --help it ends with {code} and says {said[:200]!r}; only print help there.")


def help_says_what_it_is_for(case: CommandCase) -> None:
    """Its docstring says what it is for."""
    expect(bool((case.function.__doc__ or "").strip()), "It has no docstring, which its --help would show; write one.")


CHECKS = (
    *declare("command", a_function_that_typer_calls, gate=True),
    *declare("command", help_says_what_it_is_for),
)
