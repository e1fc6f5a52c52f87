"""What inversions left in a folder: which photos are done, under which settings, and which are still to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import SpecError
from typing_extensions import Self

from ganenc.index import Index

if TYPE_CHECKING:
    from filelock import FileLock

    from ganenc.cli._outcome import Job

__all__ = ["DONE", "FAILED", "INDEX", "LATENTS", "SUMMARY", "Record", "Todo", "failed_before", "unique_names"]

INDEX = "index.jsonl"
SUMMARY = "index.html"
SETTINGS = "settings.json"
LOCK = ".lock"
"""Files that begin so are held by the processes that write; they stay, and mean nothing once those are gone."""
LATENTS = "latents.safetensors"
"""The file that an inversion leaves in its folder."""
DONE, FAILED = "done", "failed"


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


@dataclass(frozen=True)
class _Before:
    """What became of a photo before, as far as it matters to whether it is to be inverted again."""

    name: str
    failed: bool
    state: tuple[Any, ...]
    settings: str


class Record:
    """The index of a job's folder, and the settings that its photos were inverted with.

    While it is entered, other commands are kept out of the folder.

    Args:
        job: what is done to the photos.
        photos: those asked for.
    """

    def __init__(self, job: Job, photos: Sequence[Path]) -> None:
        self.job, self.photos = job, photos
        self.index = Index(job.out, key="photo", part=job.processes.part)
        self.keys = [_key(photo) for photo in photos]
        self._settings = job.settings()
        text = json.dumps(self._settings, sort_keys=True, default=str)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._lock: FileLock | None = None
        self.todo: list[Todo] = []

    def __enter__(self) -> Self:
        """Find out what is to do.

        Raises:
            SpecError: if photos lie there that were inverted with other settings, or another command works there.
        """
        self._claim()
        try:
            before = {row["photo"]: _before(row) for row in self.index.rows()}
            if not self.job.overwrite:
                self._check(before)
            self.job.processes.wait()  # Nothing is written before every process has seen that the settings fit.
            self.todo = self._plan(before)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def begin(self) -> None:
        """Write down the settings; by the first process."""
        from ganenc.atomic import write_json

        if self.job.processes.first and self.todo:
            write_json(self.job.out / SETTINGS, {**self._known_settings(), self._digest: self._settings})

    def mine(self) -> list[Todo]:
        """What this process is to do."""
        index, count = self.job.processes.part
        return self.todo[index::count]

    def row(self, todo: Todo, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The line of the index for a photo."""
        size, modified, label = self._state(todo.place)
        return {
            "photo": self.keys[todo.place],
            "status": status,
            "folder": todo.name,
            **facts,
            "bytes": size,
            "modified": modified,
            "given_label": label,
            "settings": self._digest,
        }

    def finish(self) -> None:
        """Put the rows of all processes together, those of the photos asked for in their order; by the first one."""
        self.job.processes.wait()
        if self.job.processes.first:
            self.index.gather(self.keys)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the photos asked for, one at a time, with the photos named as they were asked for."""
        asked = dict(zip(self.keys, self.photos, strict=True))
        for row in self.index.rows():
            if row["photo"] in asked:
                yield {**row, "photo": str(asked[row["photo"]])}

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _claim(self) -> None:
        """Keep other commands out of the folder, and put together what earlier ones left.

        Raises:
            SpecError: if another command works there.
        """
        from filelock import FileLock, Timeout

        processes, out = self.job.processes, self.job.out
        held = False
        if processes.first:
            held = any(_held(path) for path in out.glob(f"{LOCK}*"))
            if not held:
                self.index.gather()
        if processes.told(held):
            raise SpecError(
                f"Another command inverts into {out}, perhaps a part of one that was killed; wait for it or end it, or"
                " give another --out."
            )
        with suppress(
            OSError, NotImplementedError, Timeout
        ):  # A file system without locks, or a full one: it goes without.
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(out / f"{LOCK}-{processes.index}")
            self._lock.acquire(blocking=False)

    def _check(self, before: Mapping[str, _Before]) -> None:
        known = [before[key] for key in self.keys if key in before]
        other = sorted({one.settings for one in known if not one.failed} - {self._digest})
        if not other:
            return
        was, now = self._known_settings().get(other[0], {}), json.loads(json.dumps(self._settings, default=str))
        differ = [name for name in now if was.get(name) != now[name]]
        told = "; ".join(
            f"{name.replace('_', ' ')}: {_brief(was.get(name))} there, {_brief(now[name])} here" for name in differ
        )
        raise SpecError(
            f"{self.job.out} holds these photos inverted with other settings ({told}); give another --out, or"
            " --overwrite to invert them anew."
        )

    def _plan(self, before: Mapping[str, _Before]) -> list[Todo]:
        fixed = {key: known.name for key, known in before.items()}
        asked = set(self.keys)
        taken = [name for key, name in fixed.items() if key not in asked]
        kept = [fixed.get(key) for key in self.keys]
        names = unique_names(self.photos, taken=[INDEX, SUMMARY, SETTINGS, *taken], kept=kept)
        todo = [Todo(photo, name, place) for place, (photo, name) in enumerate(zip(self.photos, names, strict=True))]
        return [one for one in todo if self._wanted(one, before.get(self.keys[one.place]))]

    def _wanted(self, todo: Todo, before: _Before | None) -> bool:
        """Whether a photo has to be inverted: it never was, or it has changed since, or it is asked for again."""
        if before is None or self.job.overwrite or before.settings != self._digest:
            return True
        if before.state != self._state(todo.place):
            return True
        if before.failed:
            return self.job.retry_failed
        return not (self.job.out / todo.name / LATENTS).is_file()

    def _state(self, place: int) -> tuple[int | None, int | None, int | None]:
        """A photo's bytes, when it was changed in nanoseconds, and the class that it is said to have."""
        labels = self.job.labels
        label = None if labels is None or isinstance(labels, str) else int(labels[place])
        try:
            stat = self.photos[place].stat()
        except OSError:
            return None, None, label
        return stat.st_size, stat.st_mtime_ns, label

    def _known_settings(self) -> dict[str, dict[str, Any]]:
        try:
            known = json.loads((self.job.out / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


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


def failed_before(out: Path) -> list[Path]:
    """The photos that a folder's index says could not be inverted.

    Raises:
        SpecError: if there are none.
    """
    found = [Path(row["photo"]) for row in Index(out, key="photo").rows() if row.get("status") == FAILED]
    if not found:
        raise SpecError(f"--retry-failed: the index in {out} tells of no photo that failed; name the photos to invert.")
    return found


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
    used = {name.casefold() for name in (*taken, *filter(None, names))}
    counts: dict[str, int] = {}
    for place, photo in enumerate(photos):
        name, stem = names[place] or photo.stem, photo.stem.casefold()
        while names[place] is None and name.casefold() in used:
            counts[stem] = counts.get(stem, 1) + 1
            name = f"{photo.stem}-{counts[stem]}"
        used.add(name.casefold())
        names[place] = name
    return [name or "" for name in names]


def _key(photo: Path) -> str:
    """By what a photo is known wherever the command runs."""
    return str(photo.absolute())


def _before(row: Mapping[str, Any]) -> _Before:
    state = (row.get("bytes"), row.get("modified"), row.get("given_label"))
    return _Before(str(row.get("folder")), row.get("status") != DONE, state, str(row.get("settings")))


def _brief(value: Any) -> str:
    text = str(value)
    return f"{text[:24]}..." if len(text) > 27 else text
