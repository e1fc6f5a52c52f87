"""Which shards are meant, and which of them this process is to do."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ganenc_registry.errors import ImageError, SpecError

from ganenc.jobs.shard_records import PARQUET, TAR

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
MOST = 1 << 20
"""The most shards that one word names."""


def are_shards(words: Sequence[str | Path]) -> bool:
    """Whether words name shards by their endings; a SpecError if some do and some do not."""
    firsts = [word if os.path.exists(word) else next(_expanded(str(word))) for word in words]
    found = {Path(one).suffix.lower() in (TAR, PARQUET) and not os.path.isdir(one) for one in firsts}
    if len(found) > 1:
        raise SpecError("Some of these are shards (.tar, .parquet) and some are not; give them apart.")
    return True in found


def find_shards(words: str | Path | Sequence[str | Path]) -> list[Path]:
    """The shards that words name, each once: files, patterns (``shards/*.tar``) and, as WebDataset has them, braces
    (``{0000..0999}``, ``{train,val}``). An ImageError if a pattern finds nothing, a SpecError if two are called alike,
    as what they leave would be."""
    found: dict[Path, None] = {}
    for word in [words] if isinstance(words, str | Path) else words:
        for name in [str(word)] if os.path.exists(word) else expand_braces(str(word)):
            if os.path.exists(name) or not glob.has_magic(name):
                found[Path(name)] = None
                continue
            some = sorted(filter(os.path.isfile, glob.iglob(name, recursive=True)))
            if not some:
                raise ImageError(f"There is no shard {name}; check the pattern.")
            found.update(dict.fromkeys(map(Path, some)))
    stems: dict[str, Path] = {}
    for path in found:
        other = stems.setdefault(path.stem.casefold(), path)
        if other != path:
            raise SpecError(f"{other} and {path} would leave one file; invert them into folders of their own.")
    return list(found)


def expand_braces(word: str) -> list[str]:
    """Every word that one with braces stands for, in their order; a SpecError if it is no end of them."""
    found = list(itertools.islice(_expanded(word), MOST + 1))
    if len(found) > MOST:
        raise SpecError(f"{word} names more than {MOST:,} shards; name them in several calls.")
    return found


def _expanded(word: str) -> Iterator[str]:
    inner = _BRACES.search(word)
    if inner is None:
        yield word
        return
    numbers = _RANGE.fullmatch(inner[1])
    choices: Iterator[str] | list[str] = inner[1].split(",")
    if numbers:
        first, last = (int(text[:18]) for text in numbers.groups())
        width = max(map(len, numbers.groups())) if any(text[0] == "0" for text in numbers.groups()) else 0
        choices = (str(one).zfill(width) for one in range(first, last + 1) or range(first, last - 1, -1))
    for choice in choices:
        yield from _expanded(f"{word[: inner.start()]}{choice}{word[inner.end() :]}")


def read_part(text: str) -> tuple[int, int]:
    """``0/8``, the first of eight parts, as numbers; a SpecError if it is something else."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    part = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 <= part[0] < part[1]:
        raise SpecError(f"--part takes I/N, I from 0 to N - 1, such as 0/8; got {text!r}.")
    return part


def part_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """Which part of how many is this process's, by what torchrun (``RANK``, ``WORLD_SIZE``) and an array of Slurm's
    (``SLURM_ARRAY_TASK_ID`` and the like) tell it; a SpecError if the tasks of that have gaps between."""

    def number(name: str, default: int) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() and len(text) < 10 else default

    rank, world = number("RANK", 0), max(1, number("WORLD_SIZE", 1))
    task, least = number("SLURM_ARRAY_TASK_ID", 0), number("SLURM_ARRAY_TASK_MIN", 0)
    count, step = number("SLURM_ARRAY_TASK_COUNT", 1), max(1, number("SLURM_ARRAY_TASK_STEP", 1))
    place, rest = divmod(task - least, step) if count > 1 else (0, 0)
    if rest or not 0 <= place < count or rank >= world:
        raise SpecError(
            "The tasks of this array are not evenly numbered, so none knows its part; give each --part I/N."
        )
    return place * world + rank, count * world
