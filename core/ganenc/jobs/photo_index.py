"""What became of each of many photos: one line of JSON each, in a file that a kill at any moment leaves readable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from ganenc_registry.errors import GanencError
from ganenc_registry.opening import open_file
from ganenc_registry.plain_data import parse_json

from ganenc.files import atomic_path, finite

INDEX = "index.jsonl"
KEY = "photo"
"""The field of a row that names it."""
BEGINNING = b'{"photo": '


class PhotoIndex:
    """Rows by photo, in ``index.jsonl`` of a folder; a later row takes the place of an earlier one of the same photo.

    Several processes may add rows at once (``part`` is which, from 0, of how many), each to a file of its own beside it
    (``index-1.jsonl``, ...); `gather` puts them together. Rows are read one at a time and none is kept.
    """

    def __init__(self, folder: Path, *, part: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.path = folder, folder / INDEX
        process, count = part
        self._own = self.path if count == 1 else folder / f"index-{process}.jsonl"

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Append rows, written down before this returns (else a GanencError). Numbers that JSON lacks become null."""
        text = "".join(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open_file(self._own, "ab") as file:
                file.write(text.encode("utf-8", "backslashreplace"))  # So JSON escapes what UTF-8 lacks.
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise GanencError(f"{self._own} cannot be written: {error.strerror}; make room there and go on.") from None

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all processes so far, one at a time, each photo's last."""
        with ExitStack() as stack:
            files = [stack.enter_context(open_file(path)) for path in self._files()]
            last = {key: place for place, key, _ in _lines(files)}
            yield from (row for place, key, row in _lines(files) if row and last[key] == place)

    def check(self) -> None:
        """A GanencError if a file holds lines, and no row."""
        for path in self._files():
            with open_file(path) as file:
                rows = ["folder" in row for _, _, row in _lines([file])]
            if rows and not any(rows):
                raise GanencError(f"{path} is no index of photos, and is left as it is; give another folder.")

    def gather(self, order: Sequence[str] = ()) -> None:
        """Put all files together into one, atomically (else a GanencError), while no process adds rows; photos of
        ``order`` come last, in this order. A row that a kill cut off goes; lines that are no rows stay."""
        paths = self._files()
        if not paths:
            return
        rank = {key: position for position, key in enumerate(order)}
        with atomic_path(self.path, replace=True) as temporary, ExitStack() as stack:
            files = [stack.enter_context(open_file(path)) for path in paths]
            out = stack.enter_context(temporary.open("wb"))
            found = {key: place for place, key, _ in _lines(files)}
            for key in sorted(found, key=lambda key: rank.get(key, -1)):
                number, start = found[key]
                files[number].seek(start)
                out.write(files[number].readline().rstrip(b"\n") + b"\n")
        for path in paths:
            if path != self.path:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Those that are there, the one of all processes first."""
        parts = sorted(path for path in self.folder.glob("index-*.jsonl") if path.stem[6:].isdecimal())
        return [path for path in (self.path, *parts) if path.is_file()]


def _lines(files: Sequence[BinaryIO]) -> Iterator[tuple[tuple[int, int], Any, dict[str, Any]]]:
    """Each line of some files but rows that were cut off: which file and from which byte on, the photo of the row or
    what tells the line from others, and the row, empty for lines that are none."""
    for number, file in enumerate(files):
        start = file.seek(0)
        for line in file:
            place, row = (number, start), _row(line)
            if row or line.endswith(b"\n") or line[: len(BEGINNING)] != BEGINNING[: len(line)]:
                yield place, row.get(KEY, place), row
            start += len(line)


def _row(line: bytes) -> dict[str, Any]:
    """A line as a row; empty if it is none."""
    try:
        row = parse_json(line.decode()) if line.endswith(b"\n") else None
    except ValueError:
        return {}
    return row if isinstance(row, dict) and isinstance(row.get(KEY), str) else {}
