"""What a job tells while it works: what a command line draws as bars, and a web page or a notebook in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ganenc.jobs.job_result import JobResult


@dataclass(frozen=True)
class Started:
    """The job begins."""

    photos: int
    """How many were asked for."""
    todo: int
    """How many this process is to invert."""
    skipped: int
    """How many are done already."""


@dataclass(frozen=True)
class BatchBegun:
    """Some photos are inverted at once from now on."""

    photos: tuple[Path, ...]
    before: int
    """How many of this process's were tried before these."""
    todo: int


@dataclass(frozen=True)
class Stepped:
    """The method took a step, or was asked to stop between two."""

    done: float
    """How many of this process's photos are done, with a fraction for those being inverted."""
    todo: int
    terms: Mapping[str, float]
    """The terms of the objective, by name; empty where there are none."""


@dataclass(frozen=True)
class PhotoDone:
    """What a photo leaves is on the disk, and the photo in the index."""

    photo: Path
    folder: Path
    facts: Mapping[str, Any]
    """What the index says of it: its metrics and more."""


@dataclass(frozen=True)
class PhotoFailed:
    """A photo could not be read or inverted."""

    photo: Path
    error: str


@dataclass(frozen=True)
class Finished:
    """The job is over."""

    result: JobResult


Event: TypeAlias = Started | BatchBegun | Stepped | PhotoDone | PhotoFailed | Finished
OnEvent: TypeAlias = Callable[[Event], object]
"""Called in the thread that called the job; what it raises ends the job, with what was done kept."""
