"""What the commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from ganenc_registry.errors import shortened
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from typing_extensions import Self

QUIET_SECONDS = 30.0
WIDE = 160


def show(text: str = "") -> None:
    """Print a result."""
    sys.stdout.write(f"{_written(text, sys.stdout)}\n")


def emit(data: object) -> None:
    """Print a result as JSON: paths become text, and numbers that JSON does not have become null."""
    plain = json.loads(json.dumps(data, default=str), parse_constant=lambda _: None)
    show(json.dumps(plain, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Tell the user something that is no result."""
    with suppress(OSError):  # Nothing ends for want of a reader.
        sys.stderr.write(f"{_written(shortened(text), sys.stderr)}\n")
        sys.stderr.flush()


def flush(channel: TextIO) -> None:
    """Write out what a channel holds back; what it cannot take is dropped, or Python would complain at its end.
    `OSError` says why it takes nothing."""
    try:
        channel.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), channel.fileno())
        raise


def complain(text: str) -> None:
    """Tell the user what went wrong."""
    say(f"Error: {text}")


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = (), last: Sequence[str] = ()
) -> None:
    """Print a table: ``numeric`` columns, by position, hold numbers; ``last`` is a row of sums or means, set apart."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=WIDE)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_footer=bool(last), footer_style="bold")
    for index, name in enumerate(columns):
        foot = _literal(last[index]) if last else ""
        justify: Any = "right" if index in numeric else "left"
        table.add_column(_literal(name), footer=foot, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*[_literal(cell) for cell in row])
    console.print(table)


class Bar:
    """A progress bar of ``total`` steps with the time left, on stderr; where that is no terminal, a line every half
    minute. If it is not ``shown``, it prints its notes alone."""

    def __init__(self, what: str, total: int, *, shown: bool = True) -> None:
        self.what, self.total, self.shown, self.start = what, max(total, 1), shown, 0
        self.began = self.told = time.monotonic()
        self._drawn = shown and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False), console=Console(stderr=True), transient=True,
            speed_estimate_period=300, disable=not self._drawn,
        )  # fmt: skip
        self._task = self._progress.add_task(what, total=self.total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, note: str = "", *, what: str | None = None) -> None:
        """Say how many steps are done."""
        self.what = what or self.what
        self._progress.update(self._task, completed=done, note=note, description=self.what)
        now = time.monotonic()
        if self.shown and not self._drawn and now - self.told >= QUIET_SECONDS:
            self.told = now
            left = (now - self.began) / max(done - self.start, 1) * (self.total - done)
            known = f", {_time(left)} left" if done > self.start else ""
            say(f"{self.what}: {done / self.total:.0%}{known}{f', {note}' if note else ''}")

    def restart(self, done: int, total: int) -> None:
        """Count the time left from here: so many steps of ``total`` were done before."""
        self.start, self.began, self.total = done, time.monotonic(), max(total, 1)
        self._progress.reset(self._task, completed=done, total=self.total)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._drawn:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            say(text)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _literal(text: str) -> str:
    """Text that rich takes as it is, brackets and all."""
    return escape(_written(text, sys.stdout))


def _written(text: str, where: TextIO) -> str:
    """Text with escapes for what a channel cannot write, such as names of files that are not in its encoding."""
    encoding = where.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
