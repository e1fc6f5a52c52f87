"""How the program ends: its exit codes, and Ctrl-C from its first moment on. Imports nothing slow."""

from __future__ import annotations

import os
import signal

FAILED = 1
"""Exit code where something failed."""
USAGE = 2
"""Exit code where the command was called wrongly."""
INTERRUPTED = 130
"""Exit code where the user stopped it, as shells have it."""


def leave(*_: object) -> None:
    """The handler of Ctrl-C where nothing is to be saved; an exception may go astray in imports, and at the end."""
    os._exit(INTERRUPTED)


def begin() -> None:
    """All is imported: from now on Ctrl-C raises, as ever."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
