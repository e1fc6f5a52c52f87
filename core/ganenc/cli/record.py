"""What inversions left in a folder: which photos are done, under which settings, and which are still to do."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from ganenc_registry.errors import SpecError
from typing_extensions import Self

from ganenc.files import drop_leftovers, write_json
from ganenc.jobs import Index

if TYPE_CHECKING:
    from filelock import FileLock

    from ganenc.cli.outcome import Job

__all__ = ["DONE", "FAILED", "INDEX", "LATENTS", "SUMMARY", "Record", "State", "Todo", "failed_before", "unique_names"]

INDEX = "index.jsonl"
SUMMARY = "index.html"
SETTINGS = "settings.json"
LOCK = ".lock"
"""Files that begin so are held by the processes that write; they stay, and mean nothing once those are gone."""
LATENTS = "latents.safetensors"
"""The file that an inversion leaves in its folder."""
DONE, FAILED, AGAIN = "done", "failed", "again"
"""What became of a photo; of one that is to be inverted anew nothing yet."""
OVERWRITING = "overwriting"

State: TypeAlias = tuple[int | None, int | None]
"""A photo's bytes, and when it was changed, in nanoseconds; None where it is not there."""


@dataclass(frozen=True)
class Todo:
    """A photo that is to be inverted.

    Attributes:
        photo: the file.
        name: of the folder that it leaves.
        place: its place among the photos asked for, from 0; by it its label is found.
    """

    photo: Path
    name: str
    place: int

    def state(self) -> State:
        """What tells whether the photo was changed."""
        return _state(self.photo)


@dataclass(frozen=True)
class _Before:
    """What became of a photo before, as far as it matters to whether it is to be inverted again."""

    name: str
    status: str
    state: State
    label: int | None
    settings: str


class Record:
    """The index of a job's folder, and the settings that its photos were inverted with.

    While it is entered, other commands are kept out of the folder.

    Args:
        job: what is done to the photos.
        photos: those asked for.

    Attributes:
        todo: what is to do, by all processes.
        skipped: how many photos are done already.
    """

    def __init__(self, job: Job, photos: Sequence[Path]) -> None:
        self.job, self.photos = job, photos
        self.index = Index(job.out, key="photo", part=job.processes.part)
        self.keys = [_key(photo) for photo in photos]
        self._settings = json.loads(json.dumps(job.settings(), default=str))
        self._digest = _digest(self._settings)
        self._lock: FileLock | None = None
        self.todo: list[Todo] = []
        self.skipped = 0

    def __enter__(self) -> Self:
        """Find out what is to do.

        Raises:
            SpecError: if photos lie there that were inverted with other settings, or another command works there.
        """
        processes = self.job.processes
        complaint = ""
        try:
            if processes.first:
                try:
                    self._claim()
                    self._prepare()
                except SpecError as error:
                    complaint = str(error)
            complaint, self.todo, self.skipped = processes.told((complaint, self.todo, self.skipped))
            if complaint:
                raise SpecError(complaint)
            if not processes.first:
                self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def mine(self) -> list[Todo]:
        """What this process is to do."""
        index, count = self.job.processes.part
        return self.todo[index::count]

    def add(self, todo: Todo, state: State, status: str, facts: Mapping[str, Any]) -> None:
        """Add a photo to the index.

        Args:
            todo: the photo.
            state: that it had before it was read.
            status: ``done`` or ``failed``.
            facts: what else is to be said.
        """
        self.index.add([self._row(self.keys[todo.place], todo, state, status, facts)])

    def finish(self) -> None:
        """Put the rows of all processes together, those of the photos asked for in their order; by the first one."""
        self.job.processes.wait()
        if self.job.processes.first:
            self.index.gather(self.keys)
            known = self._known_settings()
            if known.pop(OVERWRITING, None) is not None:
                write_json(self.job.out / SETTINGS, known)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the photos asked for, one at a time, with the photos named as they were asked for."""
        asked = dict(zip(self.keys, self.photos, strict=True))
        for row in self.index.rows():
            if row["photo"] in asked and row["status"] != AGAIN:
                yield {**row, "photo": str(asked[row["photo"]])}

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _claim(self) -> None:
        """Keep other commands out of the folder.

        Raises:
            SpecError: if another command works there.
        """
        from filelock import FileLock, Timeout

        out, index = self.job.out, self.job.processes.index
        held = False
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(out / f"{LOCK}-{index}")
            self._lock.acquire(blocking=False)
        except Timeout:
            held = True
        except (OSError, NotImplementedError):  # A file system may have no locks, or be full.
            pass
        others = out.glob(f"{LOCK}-*") if index == 0 else ()
        if held or any(_held(path) for path in others if path != out / f"{LOCK}-{index}"):
            raise SpecError(
                f"Another command inverts into {out}, perhaps a part of one that was killed; wait for it or end it, or"
                " give another --out."
            )

    def _prepare(self) -> None:
        """By the first process: put together what was left, and see what is to do.

        Raises:
            SpecError: if photos lie there that were inverted with other settings.
        """
        drop_leftovers(self.job.out)
        self.index.gather()
        before = {row["photo"]: _before(row) for row in self.index.rows()}
        known = self._known_settings()
        if not self.job.overwrite:
            self._check(before, known)
        elif known.get(OVERWRITING) != self._overwriting():
            self._begin_anew(before)
            known[OVERWRITING] = self._overwriting()
            before = {row["photo"]: _before(row) for row in self.index.rows()}
        self.todo = self._plan(before)
        if self.todo:
            write_json(self.job.out / SETTINGS, {**known, self._digest: self._settings})

    def _begin_anew(self, before: Mapping[str, _Before]) -> None:
        """Forget what became of the photos, but for the names of their folders."""
        known = [(key, before[key]) for key in dict.fromkeys(self.keys) if key in before]
        again = [self._row(key, Todo(Path(key), one.name, -1), (None, None), AGAIN, {}) for key, one in known]
        if again:
            self.index.add(again)
            self.index.gather()

    def _overwriting(self) -> list[str]:
        """By what it is known that photos are being inverted anew, which goes on where it was."""
        return [self._digest, _digest(self.keys)]

    def _check(self, before: Mapping[str, _Before], known: Mapping[str, Any]) -> None:
        there = [before[key] for key in self.keys if key in before]
        other = sorted({one.settings for one in there if one.status != AGAIN} - {self._digest})
        if not other:
            return
        was, now = known.get(other[0], {}), self._settings
        differ = [name for name in now if was.get(name) != now[name]]
        told = "; ".join(f"{name}: {_brief(was.get(name))} there, {_brief(now[name])} here" for name in differ)
        raise SpecError(
            f"{self.job.out} holds these photos inverted with other settings ({told}); give another --out, or"
            " --overwrite to invert them anew."
        )

    def _plan(self, before: Mapping[str, _Before]) -> list[Todo]:
        places = {key: place for place, key in reversed(list(enumerate(self.keys)))}  # Of a photo named twice, one.
        asked = sorted(places.values())
        taken = [INDEX, SUMMARY, SETTINGS, *(one.name for key, one in before.items() if key not in places)]
        taken += [path.name for path in self.job.out.iterdir() if not path.is_dir()]
        kept = [before[self.keys[place]].name if self.keys[place] in before else None for place in asked]
        names = unique_names([self.photos[place] for place in asked], taken=taken, kept=kept)
        todo = []
        for place, name in zip(asked, names, strict=True):
            one, known = Todo(self.photos[place], name, place), before.get(self.keys[place])
            if self._wanted(one, known):
                todo.append(one)
            else:
                self.skipped += known is not None and known.status == DONE
        return todo

    def _wanted(self, todo: Todo, before: _Before | None) -> bool:
        """Whether a photo has to be inverted: it never was, or it has changed since, or it is asked for again."""
        if before is None or before.status == AGAIN:
            return True
        if before.state != todo.state() or before.label != self._label(todo.place):
            return True
        if before.status == FAILED:
            return self.job.retry_failed
        return not (self.job.out / todo.name / LATENTS).is_file()

    def _row(self, key: str, todo: Todo, state: State, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The line of the index for a photo."""
        return {
            "photo": key,
            "status": status,
            "folder": todo.name,
            **facts,
            "bytes": state[0],
            "modified": state[1],
            "given_label": None if todo.place < 0 else self._label(todo.place),
            "settings": self._digest,
        }

    def _label(self, place: int) -> int | None:
        """The class that a photo is said to have."""
        labels = self.job.labels
        return None if labels is None or isinstance(labels, str) else int(labels[place])

    def _known_settings(self) -> dict[str, Any]:
        try:
            known = json.loads((self.job.out / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def failed_before(out: Path) -> tuple[list[Path], list[int] | None]:
    """The photos that a folder's index says could not be inverted, and the classes that they were said to have.

    Raises:
        SpecError: if there are none.
    """
    rows = [row for row in Index(out, key="photo").rows(parts=True) if row.get("status") == FAILED]
    if not rows:
        raise SpecError(f"--retry-failed: the index in {out} tells of no photo that failed; name the photos to invert.")
    labels = [int(row["given_label"]) for row in rows if row.get("given_label") is not None]
    return [Path(row["photo"]) for row in rows], labels if len(labels) == len(rows) else None


def unique_names(
    photos: Sequence[Path], *, taken: Sequence[str] = (SUMMARY,), kept: Sequence[str | None] | None = None
) -> list[str]:
    """A name for each photo: its stem, with a number where that is taken already, whatever its case.

    Args:
        photos: the files.
        taken: names that none gets.
        kept: for each photo the name that it has already, if any.
    """
    names = list(kept or [None] * len(photos))
    used = {_folded(name) for name in (*taken, *filter(None, names))}
    counts: dict[str, int] = {}
    for place, photo in enumerate(photos):
        stem = photo.stem.strip(".") or "photo"
        name, base = names[place] or stem, _folded(stem)
        while names[place] is None and (_folded(name) in used or name.endswith(".jsonl")):
            counts[base] = counts.get(base, 1) + 1
            name = f"{stem}-{counts[base]}"
        used.add(_folded(name))
        names[place] = name
    return [name or "" for name in names]


def _held(path: Path) -> bool:
    """Whether another process holds a lock."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


def _folded(name: str) -> str:
    """Alike for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _key(photo: Path) -> str:
    """By what a photo is known wherever the command runs."""
    return os.path.abspath(photo)


def _state(photo: Path) -> State:
    try:
        stat = photo.stat()
    except OSError:
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _before(row: Mapping[str, Any]) -> _Before:
    state = (row.get("bytes"), row.get("modified"))
    return _Before(
        str(row.get("folder")), str(row.get("status")), state, row.get("given_label"), str(row.get("settings"))
    )


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _brief(value: Any) -> str:
    text = str(value)
    return f"{text[:24]}..." if len(text) > 27 else text
