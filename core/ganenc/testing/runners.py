"""The checks of a runner: every task once, in copies that stay, errors as they are, processes that know their place."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError

from ganenc.jobs import Runner
from ganenc.testing.checks import declare, expect
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "RunnerCase"]

TASKS = 5
PLACE = ("RANK", "WORLD_SIZE")


class RunnerCase:
    """A runner to check, with its default options.

    Args:
        subject: its class, or a runner.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def runner(self) -> Runner:
        """The runner."""
        return built(self.subject.resolve(), Runner, Context())


@dataclass
class Counting:
    """Work that counts how often this copy was called."""

    called: int = 0

    def __call__(self, task: int) -> tuple[int, int, str]:
        """The task, how many were done by this copy, and the folder in which it is done; a SpecError below 0."""
        if task < 0:
            raise SpecError("This task is refused.")
        self.called += 1
        return task, self.called, os.getcwd()


def note_place(folder: Path) -> None:
    """Leave a file that says what place this process was told."""
    place = {name: os.environ.get(name) for name in PLACE}
    (folder / f"{os.getpid()}-{place['RANK']}.json").write_text(json.dumps(place), encoding="utf-8")


def every_task_is_done_once(case: RunnerCase) -> None:
    """Each task gives what the work gives for it, once, in this process's folder."""
    found = Counter((task, folder) for task, _, folder in case.runner.each(Counting(), range(TASKS)))
    wanted = Counter((task, os.getcwd()) for task in range(TASKS))
    expect(found == wanted, f"Tasks and folders are {dict(found)}, not {dict(wanted)}.")


def copies_of_the_work_stay(case: RunnerCase) -> None:
    """What a copy of the work keeps stays from task to task."""
    called = [count for _, count, _ in case.runner.each(Counting(), range(64))]
    expect(max(called) > 1, "Every task of 64 had a new copy of the work; keep one in each process.")


def errors_come_as_they_are(case: RunnerCase) -> None:
    """An error that the work raises is raised."""
    try:
        list(case.runner.each(Counting(), [0, -1]))
    except SpecError as error:
        expect(str(error) == "This task is refused.", f"The error says {str(error)!r}, not what it said.")
    else:
        expect(False, "The work raised an error, and none came; raise it.")


def processes_together_know_their_place(case: RunnerCase) -> None:
    """The processes that work together are numbered, and know how many they are."""
    with tempfile.TemporaryDirectory() as folder:
        case.runner.together(partial(note_place, Path(folder)))
        places = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).iterdir()]
    expect(places, "No process called the work.")
    several = [one for one in places if one["RANK"] is not None]
    if len(places) == 1 and not several:
        return
    wanted = [(str(rank), str(len(places))) for rank in range(len(places))]
    found = sorted((one["RANK"], one["WORLD_SIZE"]) for one in places)
    expect(found == wanted, f"Their RANK and WORLD_SIZE are {found}, not {wanted}.")


CHECKS = (
    *declare("runner", every_task_is_done_once, gate=True),
    *declare("runner", copies_of_the_work_stay, errors_come_as_they_are, processes_together_know_their_place),
)
