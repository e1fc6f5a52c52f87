"""Code of others, imported so that it harms nothing here. Imports no torch."""

from __future__ import annotations

import io
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import pluggy

from ganenc_registry.errors import NameTakenError, PluginError

__all__ = ["contained", "reason"]

_FRAMES_PASSED_OVER = (str(Path(__file__).parent), str(Path(pluggy.__file__).parent), "<frozen")


class _Escaped(Exception):
    """Caused by what is no `Exception`."""


class Printed(io.BufferedIOBase):
    """What is printed on stdout, where results belong, as ``text``; it goes to stderr."""

    text = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep it, and pass it on."""
        text = bytes(data).decode("utf-8", "replace")
        self.text += text
        if sys.stderr is not None:
            sys.stderr.write(text)
        return len(data)


@contextmanager
def contained() -> Iterator[Printed]:
    """Run code of others; gives what it prints, which goes to stderr.

    Whatever it raises comes out as an `Exception`, a `KeyboardInterrupt` too; that of the user passes, even where the
    code swallows it or turns it into something else.
    """
    before: Any = signal.getsignal(signal.SIGINT)
    printed, asked = Printed(), []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        before(number, frame)

    watched = callable(before) and threading.current_thread() is threading.main_thread()
    if watched:
        signal.signal(signal.SIGINT, note)
    try:
        channel = io.TextIOWrapper(printed, "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
        with redirect_stdout(channel):
            yield printed
    except BaseException as error:
        if not (asked or isinstance(error, Exception)):
            raise _Escaped from error
        if not asked:
            raise
    finally:
        if watched:
            signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def reason(error: BaseException) -> str:
    """Why code could not be loaded, as one line: what was raised and, for errors not of ours, where in that code."""
    error = error.__cause__ or error if isinstance(error, _Escaped) else error
    text = " ".join(str(error).split())
    if isinstance(error, (PluginError, NameTakenError)) and text:
        return text
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_FRAMES_PASSED_OVER)]
    frames = [frame for frame in frames if Path(frame.filename).parts[-2:-1] not in (("importlib",), ("metadata",))]
    where = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{text and ': '}{text}{where}"
