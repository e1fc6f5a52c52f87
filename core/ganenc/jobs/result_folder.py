"""What a job leaves: a folder for each photo, an index of what became of each, and the settings they were made with."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError, ImageError, SpecError

from ganenc.files import as_path, as_text, read_json, write_json, write_text
from ganenc.images import find
from ganenc.inversion import PhotoFolder
from ganenc.jobs.photo_index import PhotoIndex
from ganenc.jobs.photo_row import AGAIN, FAILED, read_row

SUMMARY = "index.html"
SETTINGS = "settings.json"


class ResultFolder:
    """A job's folder (it need not be there), to be read at any time, also while the job works; all goes through it.
    ``for row in folder.rows()`` gives what became of each photo, ``folder.photo(row["photo"])`` what one left."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = PhotoIndex(self.path)
        self.summary = self.path / SUMMARY

    def rows(self) -> Iterator[dict[str, Any]]:
        """What became of each photo, one at a time: ``photo``, ``status`` (``done`` or ``failed``), ``folder``,
        ``error`` or ``metrics`` and more; see docs/how-to/folders.md."""
        return (row for row in self.all_rows() if row["status"] != AGAIN)

    def all_rows(self) -> Iterator[dict[str, Any]]:
        """The rows, also of photos that are to be inverted anew (``again``). One that is damaged counts as such, with a
        warning, or is left out if it names no folder of its own."""
        damaged, taken = 0, set[str]()
        for row in self.index.rows():
            read = read_row(row)
            if read and (_folded(read["folder"]) in taken or (self.path / read["folder"]).is_symlink()):
                read = None
            damaged += read is None or read["status"] != row.get("status")
            if read:
                taken.add(_folded(read["folder"]))
                yield read
        if damaged:
            warnings.warn(f"{damaged} rows of {self.index.path} are damaged; their photos are not done.", stacklevel=2)

    def photo(self, photo: str | Path) -> PhotoFolder:
        """What one photo left, by its path or the name of its folder; an ImageError if it is not there, or failed."""
        for row in self.rows():
            if row["photo"] == key_of(photo) or row["folder"] == str(photo):
                if row["status"] == FAILED:
                    raise ImageError(f"{photo} could not be inverted: {row.get('error')}")
                return PhotoFolder(self.path / row["folder"])
        raise ImageError(f"The index in {self.path} knows no photo {photo}; invert it first.")

    def failed(self) -> tuple[list[Path], list[int] | None]:
        """The photos that could not be inverted (a SpecError if there are none), and their classes, where said."""
        rows = [row for row in self.rows() if row["status"] == FAILED]
        if not rows:
            raise SpecError(f"The index in {self.path} tells of no photo that failed; name the photos to invert.")
        labels = [row["given_label"] for row in rows if row.get("given_label") is not None]
        return [Path(as_path(row["photo"])) for row in rows], labels if len(labels) == len(rows) else None

    def find(self, words: Sequence[str | Path]) -> list[Path]:
        """The photos that `ganenc.images.find` finds (else an ImageError), none in this folder but by its own name."""
        inside, named = os.path.join(os.path.realpath(self.path), ""), {str(word) for word in words}
        found = [one for one in find(words) if str(one) in named or not os.path.realpath(one).startswith(inside)]
        if not any(map(os.path.exists, found)):
            missing = found[0] if found else words[0]
            why = "there is no such file or folder; check the name" if found else f"all photos there lie in {self.path}"
            raise ImageError(f"{missing}: {why}.")
        return found

    def settings(self) -> dict[str, Any]:
        """The settings of the inversions, by the ``settings`` of their rows."""
        try:
            known = read_json(self.path / SETTINGS, "")
        except (OSError, CheckpointError):
            return {}
        found = known.items() if isinstance(known, dict) else ()
        return {name: value for name, value in found if isinstance(value, dict | list)}

    def write_settings(self, known: dict[str, Any], *, replace: bool = True) -> None:
        """Replace the settings; those of others with ``replace`` alone."""
        write_json(self.path / SETTINGS, known, replace=replace)

    def write_summary(self, page: str) -> None:
        """Replace the page of all photos."""
        write_text(self.summary, page)


def key_of(photo: str | Path) -> str:
    """By what a photo is known wherever the job runs."""
    return as_text(os.path.abspath(photo))


def unique_names(
    photos: Sequence[Path], *, taken: Sequence[str] = (), kept: Sequence[str | None] | None = None
) -> list[str]:
    """A name for each photo: of ``kept``, or its stem, with a number where that is taken already, whatever its case."""
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


def _folded(name: str) -> str:
    """Alike for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
