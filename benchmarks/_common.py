"""What the benchmarks share: options, fair timing, and results as Markdown. Imports no torch before it is needed."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganenc.files import processor

if TYPE_CHECKING:
    from _device import Place

__all__ = [
    "RESULTS",
    "clock",
    "describe",
    "interleaved",
    "machine",
    "parser",
    "place_of",
    "publish",
    "ratios",
    "resident",
    "set_threads",
    "table",
]

RESULTS = Path(__file__).resolve().parent / "results"


def parser(name: str, purpose: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=purpose)
    options.add_argument("--quick", action="store_true", help="small sizes and few repeats, to see that it works")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads that torch may use")
    options.add_argument("--out", type=Path, help=f"the Markdown file to write (results/{name}.md; none if --quick)")
    return options


def set_threads(threads: int) -> None:
    """Let torch use that many threads."""
    import torch

    torch.set_num_threads(threads)


def clock(threads: int) -> Callable[[], float]:
    """What time is read from: the processor for one thread, so that other programs do not count, else the wall."""
    return time.process_time if threads == 1 else time.perf_counter


def interleaved(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """The seconds that each piece of work takes, round by round.

    In every round each piece runs once, so that whatever else the machine does falls on all of them alike.

    Args:
        work: what to time, by name.
        rounds: rounds that count.
        warmup: rounds before them that do not.
        clock: what time is read from.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for count in range(-warmup, rounds):
        for name, piece in work.items():
            started = clock()
            piece()
            spent = clock() - started
            if count >= 0:
                times[name].append(spent)
    return times


def ratios(whole: Sequence[float], *parts: Sequence[float]) -> list[float]:
    """Round by round, the time of the whole over the sum of the times of its parts."""
    return [one / sum(others) for one, *others in zip(whole, *parts, strict=True)]


def describe(values: Sequence[float]) -> str:
    """The median, and the smallest and largest value."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns padded so that it reads well as plain text too."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine(threads: int | None = None, place: Place | None = None) -> str:
    """What it ran on, in one line: GPU, processor, threads, Python, and torch if that is loaded."""
    parts = [processor(), f"{os.cpu_count()} processors", f"Python {platform.python_version()}"]
    if threads is not None:
        wall = threads > 1 or (place is not None and place.is_gpu)
        parts.insert(2, f"{threads} thread{'s'[: threads > 1]}, {'wall' if wall else 'processor'} time")
    if place is not None and place.description:
        parts.insert(0, place.description)
    if "torch" in sys.modules:
        parts.append(f"torch {importlib.metadata.version('torch')}")
    return ", ".join([*parts, f"ganenc {importlib.metadata.version('ganenc')}"])


def resident(process: int) -> float:
    """The megabytes that a process and those that it began hold, what they share counted once; of one that has ended
    none."""
    place = Path(f"/proc/{process}")
    try:
        held = re.search(r"^Pss: +(\d+) kB", (place / "smaps_rollup").read_text(encoding="utf-8"), re.MULTILINE)
        begun = [path.read_text(encoding="utf-8") for path in place.glob("task/*/children")]
    except OSError:
        return 0.0
    return (int(held[1]) / 1024 if held else 0.0) + sum(resident(int(one)) for one in " ".join(begun).split())


def place_of(name: str, place: Place | None, ending: str = ".md") -> Path:
    """The file of a result: of a GPU in a folder of its own."""
    folder = RESULTS / "device" if place is not None and place.is_gpu else RESULTS
    return folder / f"{name}{place.suffix if place else ''}{ending}"


def publish(
    name: str,
    title: str,
    body: str,
    *,
    out: Path | None,
    quick: bool,
    threads: int | None = None,
    place: Place | None = None,
) -> None:
    """Print a result and write it down, with the command, the machine and the date.

    Args:
        name: of the benchmark.
        title: the heading of the file.
        body: Markdown.
        out: the file to write; by default ``results/<name>.md``, of a GPU in ``results/device``, or none where the run
            was a quick one.
        quick: whether it was.
        threads: that torch was allowed to use.
        place: where it computed; a GPU's name, and another precision, go into the name of the file.
    """
    print(f"\n{body}\n")
    path = out or (None if quick else place_of(name, place))
    if path is None:
        return
    arguments = [argument for argument in sys.argv[1:] if argument != "--out" and argument != str(out)]
    command = shlex.join(["python", f"benchmarks/{name}.py", *arguments])
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    text = f"# {title}\n\n    {command}\n\n{machine(threads, place)}, {date}.\n\n{body}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written to {path}")
