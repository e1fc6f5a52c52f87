"""A result folder while a job works there: what is to do, and what is done, under which settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from filelock import FileLock
from ganenc_registry.errors import GanencError, SpecError, told
from typing_extensions import Self

from ganenc.files import Processes, as_text, check_ours, drop_leftovers, take_lock
from ganenc.inversion import PhotoFolder
from ganenc.jobs.photo_index import INDEX, PhotoIndex
from ganenc.jobs.photo_row import AGAIN, DONE, FAILED
from ganenc.jobs.result_folder import SETTINGS, SUMMARY, ResultFolder, key_of, unique_names

LOCK = ".lock"
"""Files that begin so are held by the processes that write; they stay, and mean nothing once those are gone."""
OVERWRITING = "overwriting"
WAYS = "ways"
"""Beside the settings, what is no part of them: what was left to the machine that began."""

State: TypeAlias = tuple[int | None, int | None]
"""A photo's bytes, and when it was changed, in nanoseconds; None where it is not there."""


@dataclass(frozen=True)
class Todo:
    """A photo that is to be inverted."""

    photo: Path
    name: str
    """Of the folder that it leaves."""
    key: str
    """By what it is known in the index."""
    label: int | None = None
    """The class that it is said to have."""
    state: State = (None, None)
    """What told whether it was changed, when it was read."""

    def as_it_is(self) -> Todo:
        """The same with its state as it is now."""
        try:
            stat = self.photo.stat()
        except OSError:
            return replace(self, state=(None, None))
        return replace(self, state=(stat.st_size, stat.st_mtime_ns))


class _Before(NamedTuple):
    """What became of a photo before, as far as it matters to whether it is to be inverted again."""

    folder: str
    status: str
    bytes: int | None
    modified: int | None
    given_label: int | None
    settings: str


class Record:
    """The index of a job, and the settings of its inversions. While it is entered, other jobs are kept out.

    ``settings`` are all that a result depends on besides the photo and its label, as data; ``labels`` the class that
    each photo is said to have. Photos inverted or failed before are tried again by ``overwrite`` and ``retry_failed``.
    ``written`` are other files that the job writes there in the end. ``ways`` finds, where there is something to do
    and none are known, what is left to the machine; those of the first photo's are kept for all.
    ``todo`` is what is to do, by all ``processes``; ``skipped`` how many photos are done already.
    """

    def __init__(
        self,
        folder: ResultFolder,
        photos: Sequence[Path],
        settings: Mapping[str, Any],
        *,
        labels: Sequence[int] | None = None,
        overwrite: bool = False,
        retry_failed: bool = False,
        processes: Processes | None = None,
        written: Sequence[Path] = (),
        ways: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.written, self._find_ways = written, ways
        self.ways: Mapping[str, Any] = {}
        self.folder, self.photos, self.labels = folder, photos, labels
        self.overwrite, self.retry_failed = overwrite, retry_failed
        self.processes = processes or Processes()
        self.index = PhotoIndex(folder.path, part=self.processes.part)
        self.keys = [key_of(photo) for photo in photos]
        self._settings, self._digest = settings, _digest(settings)
        self._lock: FileLock | None = None
        self._turn = Lock()
        self.todo: list[Todo] = []
        self.skipped = 0

    def __enter__(self) -> Self:
        """Find what is to do; a SpecError if photos there have other settings, or another job works there."""
        complaint = ""
        try:
            if self.processes.first:
                try:
                    self._claim()
                    self._prepare()
                except GanencError as error:
                    complaint = str(error)
            found = self.processes.told((complaint, self.todo, self.skipped, self.ways))
            complaint, self.todo, self.skipped, self.ways = found
            if complaint:
                raise SpecError(complaint)
            if not self.processes.first:
                self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._release()

    def mine(self) -> list[Todo]:
        """What this process is to do."""
        index, count = self.processes.part
        return self.todo[index::count]

    def add(self, todo: Todo, status: str, facts: Mapping[str, Any]) -> None:
        """Add a photo to the index: ``done`` or ``failed``, and what else is to be said of it."""
        with self._turn:
            self.index.add(self._row(todo, status, facts))

    def finish(self) -> None:
        """Put the rows of all processes together, those of the photos asked for last and in their order."""
        self.processes.wait()
        if self.processes.first:
            self.index.gather(self.keys)
            known = self.folder.settings()
            if known.pop(OVERWRITING, None) is not None:
                self.folder.write_settings(known)
        self.processes.wait()

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the photos asked for, one at a time, with the photos named as they were asked for."""
        asked = dict(zip(self.keys, self.photos, strict=True))
        for row in self.folder.rows():
            if row["photo"] in asked:
                yield {**row, "photo": str(asked[row["photo"]])}

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _claim(self) -> None:
        """Keep other jobs out of the folder; a SpecError if another works there, or nothing can be written."""
        path, index = self.folder.path, self.processes.index
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"{path} cannot be written: {error.strerror}; give another folder.") from None
        self._lock = FileLock(path / f"{LOCK}-{index}")
        held = not take_lock(self._lock)
        others = path.glob(f"{LOCK}-*") if index == 0 else ()
        if held or any(_held(other) for other in others if other != path / f"{LOCK}-{index}"):
            raise SpecError(
                f"Another command inverts into {path}, perhaps a part of one that was killed; wait for it or end it, or"
                " give another folder."
            )

    @told(SpecError)
    def _prepare(self) -> None:
        """By the first process: put together what was left, and see what is to do; a SpecError on other settings."""
        drop_leftovers(self.folder.path)
        self.index.check()
        check_ours(*self.written)
        self.index.gather()
        before, known = self._before(), self.folder.settings()
        if not self.overwrite:
            self._check(before, known)
        elif known.get(OVERWRITING) != self._overwriting():
            self._begin_anew(before)
            known[OVERWRITING] = self._overwriting()
            known.pop(self._digest, None)
            before = self._before()
        self.todo = self._plan(before)
        if self.todo:
            before_us = known.get(self._digest)
            begun = before_us.get(WAYS) if isinstance(before_us, dict) else None
            self.ways = begun if isinstance(begun, dict) else self._find_ways()
            settings = {**self._settings, **({WAYS: self.ways} if self.ways else {})}
            self.folder.write_settings({**known, self._digest: settings}, replace=bool(before))

    def _before(self) -> dict[str, _Before]:
        return {row["photo"]: _Before._make(map(row.get, _Before._fields)) for row in self.folder.all_rows()}

    def _begin_anew(self, before: Mapping[str, _Before]) -> None:
        """Forget what became of the photos, but for the names of their folders."""
        known = [Todo(Path(key), before[key].folder, key) for key in dict.fromkeys(self.keys) if key in before]
        self.index.add(*(self._row(one, AGAIN, {}) for one in known))
        self.index.gather()

    def _overwriting(self) -> list[str]:
        """By what it is known that photos are being inverted anew, which goes on where it was."""
        return [self._digest, _digest(self.keys)]

    def _check(self, before: Mapping[str, _Before], known: Mapping[str, Any]) -> None:
        there = [before[key] for key in self.keys if key in before]
        other = sorted({one.settings for one in there if one.status != AGAIN} - {self._digest})
        if not other:
            return
        was, now = dict(_leaves(known.get(other[0]) or {})), dict(_leaves(self._settings))
        mine = [name for name in {**now, **was} if not name.startswith(f"{WAYS}.")]
        differ = [name for name in mine if was.get(name) != now.get(name)]
        told = "; ".join(f"{name}: {_brief(was.get(name))} there, {_brief(now.get(name))} here" for name in differ)
        raise SpecError(
            f"{self.folder.path} holds these photos inverted with other settings ({told}); give another folder, or"
            " overwrite them (--overwrite) to invert them anew."
        )

    def _plan(self, before: Mapping[str, _Before]) -> list[Todo]:
        labels: Sequence[int | None] = self.labels or [None] * len(self.keys)
        asked: dict[str, tuple[Path, int | None]] = {}  # A photo named twice is there once.
        for key, photo, label in zip(self.keys, self.photos, labels, strict=True):
            asked.setdefault(key, (photo, label))
        taken = [INDEX, SUMMARY, SETTINGS, *(one.folder for key, one in before.items() if key not in asked)]
        ours = {one.folder for one in before.values()}
        there = (path for path in self.folder.path.iterdir() if path.name not in ours)
        taken += [path.name for path in there if not path.is_dir() or not PhotoFolder(path).is_free]
        kept = [before[key].folder if key in before else None for key in asked]
        names = unique_names([photo for photo, _ in asked.values()], taken=taken, kept=kept)
        todo = []
        for name, (key, (photo, label)) in zip(names, asked.items(), strict=True):
            task, one = Todo(photo, name, key, label), before.get(key)
            if self._wanted(task, one):
                todo.append(task)
            else:
                self.skipped += one is not None and one.status == DONE
        return todo

    def _wanted(self, todo: Todo, before: _Before | None) -> bool:
        """Whether a photo has to be inverted: it never was, or it has changed since, or it is asked for again."""
        if before is None or before.status == AGAIN:
            return True
        if (before.bytes, before.modified, before.given_label) != (*todo.as_it_is().state, todo.label):
            return True
        if before.status == FAILED:
            return self.retry_failed
        return not PhotoFolder(self.folder.path / todo.name).is_done

    def _row(self, todo: Todo, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The line of the index for a photo."""
        return {
            "photo": todo.key,
            "status": status,
            "folder": as_text(todo.name),
            **facts,
            "bytes": todo.state[0],
            "modified": todo.state[1],
            "given_label": todo.label,
            "settings": self._digest,
        }


def _held(path: Path) -> bool:
    """Whether another process holds a lock."""
    lock = FileLock(path)
    taken = take_lock(lock)
    lock.release()
    return not taken


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _leaves(data: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings, by their paths."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def _brief(value: Any) -> str:
    text = str(value)
    return f"{text[:24]}..." if len(text) > 27 else text
