"""How many lines the house has, room by room, now and at an earlier commit (``--before``).

Lines that are neither blank nor a comment alone count, docstrings too.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from _common import parser, publish, table

ROOT = Path(__file__).resolve().parents[1]
CORE = "core/ganenc/"
APART = ("testing", "scaffold")
"""Rooms of the core that third parties build with; its sum leaves them out."""
FOLDERS = ("registry", "plugins", "tests", "benchmarks", "examples")


def lines_of(text: str) -> int:
    """How many lines of a file count."""
    return sum(1 for line in map(str.strip, text.splitlines()) if line and not line.startswith("#"))


def place_of(path: str) -> str:
    """The room of a file of the core, with its folder; of any other file the top folder."""
    if not path.startswith(CORE):
        return path.split("/")[0]
    inside = path.removeprefix(CORE).split("/")
    return f"core/{inside[0]}" if len(inside) > 1 else "core/ (modules at the top)"


def git(*words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def count(files: Iterable[tuple[str, str]]) -> Counter[str]:
    """The lines of files, given by path and text, place by place."""
    found: Counter[str] = Counter()
    for path, text in files:
        found[place_of(path)] += lines_of(text)
    return found


def now() -> Counter[str]:
    """The lines of the working tree."""
    paths = [path for path in git("ls-files", "*.py").splitlines() if (ROOT / path).is_file()]
    return count((path, (ROOT / path).read_text(encoding="utf-8")) for path in paths)


def at(commit: str) -> Counter[str]:
    """The lines at a commit."""
    paths = [path for path in git("ls-tree", "-r", "--name-only", commit).splitlines() if path.endswith(".py")]
    return count((path, git("show", f"{commit}:{path}")) for path in paths)


def sums(lines: Counter[str]) -> dict[str, int]:
    """The sums that matter, then each folder."""
    core = sum(value for place, value in lines.items() if place.startswith("core/"))
    apart = sum(lines[f"core/{room}"] for room in APART)
    return {
        f"core without {' and '.join(APART)}": core - apart,
        "of it, cli": lines["core/cli"],
        **{folder: lines[folder] for folder in FOLDERS},
    }


def main() -> None:
    """Count, and print what was counted."""
    options = parser("lines", __doc__.splitlines()[0])
    options.add_argument("--before", metavar="COMMIT", help="an earlier commit to count beside")
    given = options.parse_args()
    counts = [now()] if given.before is None else [at(given.before), now()]
    head = ["", *(["before"] if given.before else []), "now"]
    rows = [(name, *(sums(one)[name] for one in counts)) for name in sums(counts[-1])]
    rooms = sorted(place for place in counts[-1] if place.startswith("core/"))
    rows += [(room, *(one[room] or "" for one in counts)) for room in rooms]
    publish("lines", "Lines", table(head, rows), out=given.out, quick=given.quick)


if __name__ == "__main__":
    main()
