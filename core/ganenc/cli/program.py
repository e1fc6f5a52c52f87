"""The program: what it does from its first moment on, before anything slow is imported."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from ganenc import cli
from ganenc.cli.exits import leave


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on the words after the program's name (by default those it was called with), and exit: 0
    all went well, 1 something failed, 2 it was called wrongly, 130 the user stopped it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # It was closed by whoever started this.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    own = arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if own:
            signal.signal(signal.SIGINT, leave)
        cli.run(arguments)
    finally:
        if own:
            signal.signal(signal.SIGINT, leave)
