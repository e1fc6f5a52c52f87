"""The application: commands, each imported when it is called. Errors become one sentence and an exit code."""

from __future__ import annotations

import errno
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import DeviceError, GanencError, SpecError, UnknownNameError, path_fault, shortened
from typer.core import TyperGroup

from ganenc.cli.console import complain, flush, say
from ganenc.cli.exits import FAILED, INTERRUPTED, USAGE, begin
from ganenc.cli.table import COMMANDS
from ganenc.files import import_script, is_out_of_memory

_HELP = {"help_option_names": ["-h", "--help"]}
_TABLE = {command.name: command for command in COMMANDS}


@contextmanager
def _shortly() -> Iterator[None]:
    """Shorten what is told of words that are of no use."""
    try:
        yield
    except Exception as error:
        if isinstance(told := getattr(error, "message", None), str):
            error.message = shortened(told)  # type: ignore[attr-defined]
        raise


class _Commands(TyperGroup):
    """The commands that are registered: those of the table, then those of plugins and scripts, by name."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the words before the command."""
        with _shortly():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _shortly():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names; nothing is imported for a list, whose rows come from what is registered."""
        order = list(_TABLE)
        found = sorted(registry().list("command"), key=lambda one: order.index(one.name) if one.name in order else 99)
        self.commands = {item.name: _command(item.name, lambda: None, help=item.summary) for item in found}
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A row of the list."""
        self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported."""
        name, row, rest = super().resolve_command(ctx, args)
        command = row and _command(str(name), registry().resolve("command", str(name)))
        begin()
        return name, command, rest


def _command(name: str, function: Callable[..., Any], **shown: Any) -> Any:
    told = _TABLE.get(name)
    made = typer.Typer(add_completion=False, context_settings=_HELP)
    example = f"Example: {told.example}" if told else None
    made.command(name, rich_help_panel=told.purpose if told else "From plugins", epilog=example, **shown)(function)
    return typer.main.get_command(made)


def _examples() -> str:
    """The first example of every purpose."""
    first = {command.purpose: command.example for command in reversed(COMMANDS)}
    return "\n\n".join(["For example:", *reversed(first.values())])


app = typer.Typer(
    cls=_Commands,
    name="ganenc",
    help="Turn any pre-trained GAN into an auto-encoder: build its encoder, train it, and rebuild photos.",
    epilog=_examples(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)


def run(arguments: Sequence[str] | None) -> None:
    """Carry the words out, and exit; see `ganenc.cli.main`."""
    out = sys.stdout
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            threading.excepthook = _note_of_thread
            try:
                app(args=None if arguments is None else list(arguments), prog_name="ganenc")
            finally:
                threading.excepthook = threading.__excepthook__
                flush(out)
    except GanencError as error:
        complain(str(error))
        raise SystemExit(USAGE if isinstance(error, SpecError | UnknownNameError | DeviceError) else FAILED) from None
    except OSError as error:
        if error.errno != errno.EPIPE:  # Who reads no further has no question.
            complain(path_fault(error))
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complain("The device ran out of memory; take fewer images at a time, or use --device cpu.")
        raise SystemExit(FAILED) from None
    finally:
        with suppress(OSError):
            flush(sys.stderr)


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Tell a warning as one sentence, without the place in the code that it comes from."""
    say(f"Note: {message}")


def _note_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Tell what kept a thread of a package's from a file in one sentence; whoever waits for it tells the rest."""
    if isinstance(failed.exc_value, OSError):
        say(f"Note: {path_fault(failed.exc_value)}")
    else:
        threading.__excepthook__(failed)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"ganenc {version('ganenc')}")
        except PackageNotFoundError:
            typer.echo("ganenc (not installed)")
        raise typer.Exit


def _import(scripts: list[str] | None) -> None:
    for script in scripts or []:
        import_script(script)


@app.callback()
def _common(
    scripts: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="SCRIPT",
            callback=_import,
            is_eager=True,  # What it registers may be a command.
            help="A file or module to import first, that registers something.",
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
