"""How long the light parts take to start: `import ganenc_registry` and `ganenc list`, against a bare Python.

Both are to start without torch; that is checked in the same run, by what is in ``sys.modules`` at the end.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

from _common import describe, interleaved, parser, publish, ratios, table

STARTS = {
    "python -c pass": "pass",
    "import ganenc_registry": "import ganenc_registry",
    "import ganenc": "import ganenc",
    "ganenc list": "import sys; sys.argv = ['ganenc', 'list']; from ganenc.cli import main; main()",
}
"""What is started, as the code that a fresh Python is given; the command line as its entry point calls it."""


def start(code: str) -> Callable[[], object]:
    """A fresh Python that runs ``code``."""
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def loads_torch(code: str) -> bool:
    """Whether ``code`` leaves torch among the loaded modules of a fresh Python."""
    report = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
    done = subprocess.run([sys.executable, "-c", report + code], check=True, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] == "True"


def main() -> None:
    """Time the starts and print them."""
    options = parser("imports", __doc__.splitlines()[0]).parse_args()
    times = interleaved({name: start(code) for name, code in STARTS.items()}, rounds=3 if options.quick else 15)
    bare = times["python -c pass"]
    rows = [
        (
            f"`{name}`",
            f"{statistics.median(times[name]):.3f}",
            describe(ratios(times[name], bare)),
            "yes" if loads_torch(code) else "no",
        )
        for name, code in STARTS.items()
    ]
    body = table(["start", "seconds (median)", "times a bare Python", "torch loaded"], rows)
    publish("imports", "Starting up", body, out=options.out, quick=options.quick)


if __name__ == "__main__":
    main()
