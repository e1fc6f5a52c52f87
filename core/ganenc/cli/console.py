"""What the commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from typing_extensions import Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "complain", "emit", "plain", "say", "show", "show_table"]

QUIET_SECONDS = 30.0
WIDE = 160


def show(text: str = "") -> None:
    """Print a result."""
    sys.stdout.write(f"{_written(text, sys.stdout)}\n")


def emit(data: object) -> None:
    """Print a result as JSON."""
    show(json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Tell the user something that is no result."""
    sys.stderr.write(f"{_written(text, sys.stderr)}\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """Tell the user what went wrong."""
    say(f"Error: {text}")


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = (), last: Sequence[str] = ()
) -> None:
    """Print a table.

    Args:
        columns: the names of the columns.
        rows: the cells, row by row.
        numeric: the columns, by position, that hold numbers.
        last: a row of sums or means, set apart.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

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


def plain(data: Any) -> Any:
    """Data as JSON takes it: numbers that it does not have become null, paths become text."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set):
        return [plain(value) for value in data]
    return str(data) if isinstance(data, Path) else data


class Bar:
    """A progress bar with the time left, on stderr; where that is no terminal, a line every half minute.

    Args:
        what: what is going on.
        total: how many steps there are.
        start: how many of them were done before.
        shown: whether it is; if not, it prints its notes alone.
    """

    def __init__(self, what: str, total: int, *, start: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.start, self.shown = what, max(total, 1), start, shown
        self.began = self.told = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty():
            self._progress = _progress()
            self._progress.start()
            self._task = self._progress.add_task(self.what, total=self.total, completed=self.start, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def update(self, done: int, note: str = "", *, what: str | None = None) -> None:
        """Say how many steps are done."""
        self.what = what or self.what
        now = time.monotonic()
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note, description=self.what)
        elif self.shown and now - self.told >= QUIET_SECONDS:
            self.told = now
            left = (now - self.began) / max(done - self.start, 1) * (self.total - done)
            known = f", {_time(left)} left" if done > self.start else ""
            say(f"{self.what}: {done / self.total:.0%}{known}{f', {note}' if note else ''}")

    def restart(self, done: int, total: int | None = None) -> None:
        """Count the time left from here: so many steps were done before, of ``total`` where that is known now."""
        self.start, self.began, self.total = done, time.monotonic(), total or self.total
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, completed=done, total=self.total)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._progress is None:
            say(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=300)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _literal(text: str) -> str:
    """Text that rich takes as it is, brackets and all."""
    from rich.markup import escape

    return escape(_written(text, sys.stdout))


def _written(text: str, where: TextIO) -> str:
    """Text with escapes for what a channel cannot write, such as names of files that are not in its encoding."""
    encoding = where.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
