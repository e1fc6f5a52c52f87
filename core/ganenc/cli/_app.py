"""The application: what every command shares. Errors become one sentence and an exit code here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from ganenc_registry.errors import DeviceError, GanencError, SpecError, UnknownNameError
from typer.core import TyperGroup

from ganenc.cli._console import complain
from ganenc.files import import_script, is_out_of_memory

__all__ = ["FAILED", "USAGE", "app", "main"]

FAILED = 1
"""Exit code where something failed."""
USAGE = 2
"""Exit code where the command was called wrongly."""


class _Commands(TyperGroup):
    """Turns every error that a user can cause into one sentence on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except GanencError as error:
            complain(str(error))
            raise typer.Exit(code=_code(error)) from None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            complain("The device ran out of memory; take fewer images at a time, or use --device cpu.")
            raise typer.Exit(code=FAILED) from None


app = typer.Typer(
    cls=_Commands,
    name="ganenc",
    help="Turn any pre-trained GAN into an auto-encoder: build its encoder, train it, and rebuild photos.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all went well, 1 something failed, 2 it was called wrongly.

    Args:
        arguments: the words after the program's name; by default those it was called with.
    """
    app(args=None if arguments is None else list(arguments), prog_name="ganenc")


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"ganenc {version('ganenc')}")
        except PackageNotFoundError:
            typer.echo("ganenc (not installed)")
        raise typer.Exit


@app.callback()
def _common(
    scripts: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="SCRIPT", help="A file or module to import first, that registers something."),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    for script in scripts or []:
        import_script(script)


def _code(error: GanencError) -> int:
    return USAGE if isinstance(error, SpecError | UnknownNameError | DeviceError) else FAILED
