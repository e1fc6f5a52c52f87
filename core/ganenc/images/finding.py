"""The photos that files, folders, patterns and lists name."""

from __future__ import annotations

import errno
import glob
import mimetypes
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ganenc_registry.errors import ImageError, told
from ganenc_registry.opening import open_file, read_text
from PIL import Image

from ganenc.files import as_path
from ganenc.images.decoding import ARRAYS, formats

_LISTS = frozenset({".lst", ".txt"})
"""What the files end in that list photos, one a line."""
SHEET = "several images, side by side"
"""The title of the pictures that show several; see `write_png`."""
_NO_PHOTOS = ("text/", "application/")
"""Kinds of files that lie beside photos and are none."""


@told(ImageError)
def find(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand folders and patterns to the photos in them, in natural order (2 before 10), each once.

    A folder gives the photos in it and below it, hidden files and our own sheets of several images left out, and warns
    of files that are none of its texts and no photos that can be read either; a pattern, such as ``photos/**/*.png``,
    what it matches. A file that is named is kept whatever it is, even if it does not exist: reading it says what is
    wrong. One that ends in ``.txt`` or ``.lst`` lists files, folders and patterns, one a line, in its order, relative
    to here or else to the list's folder; blank lines and those that begin with ``#`` say nothing. An ImageError if a
    folder, a pattern or a list gives no photo, or a list cannot be read.
    """
    found: dict[Path, None] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(given)
        for one in _listed(path) if path.suffix.lower() in _LISTS and os.path.isfile(path) else [path]:
            found.update(dict.fromkeys(_expand(one)))
    return list(found)


def _listed(path: Path) -> list[Path]:
    """What a list of files, folders and patterns names."""
    try:
        lines = [as_path(line.strip()) for line in read_text(path, encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise ImageError(f"The list {path} cannot be read ({error}); it holds a photo's path on each line.") from None
    named = [Path(line) for line in lines if line and not line.startswith("#")]
    if not named:
        raise ImageError(f"The list {path} names no photo; write a photo's path on each line.")
    return [one if os.path.exists(one) or one.is_absolute() or _matches(one) else path.parent / one for one in named]


def _matches(path: Path) -> bool:
    """Whether a pattern finds anything."""
    return glob.has_magic(str(path)) and next(glob.iglob(str(path), recursive=True), None) is not None


def _expand(path: Path) -> list[Path]:
    passed = ""
    if os.path.isdir(path):  # Unlike the path's own method, it takes a name that no system allows.
        files, passed = _inside(path)
    elif not os.path.exists(path) and glob.has_magic(str(path)):
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
    else:
        return [path]
    if not files:
        raise ImageError(f"There is no photo in {path} that can be read, such as .jpg, .png or .webp{passed}.")
    if passed:
        warnings.warn(f"In {path} files are passed over that cannot be read as photos{passed}.", stacklevel=4)
    return sorted(files, key=_natural)


def _inside(folder: Path) -> tuple[list[Path], str]:
    """The photos in a folder and below it, also behind links to folders, each folder once, and words on how many files
    of which kinds beside them are neither photos nor texts or data; hidden ones left out."""
    taken, known = formats(), Image.registered_extensions()
    suffixes = {suffix for suffix, name in known.items() if name in taken} | {*ARRAYS}
    seen, found, passed = set(), [], Counter[str]()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        if not os.access(place, os.X_OK):
            _refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), place))
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        for name in names if real not in seen else []:
            file = Path(place, name)
            if name.startswith(".") or not os.path.isfile(file):
                continue
            if file.suffix.lower() in suffixes:
                found += [] if _is_sheet(file) else [file]
            elif file.suffix.lower() in known or not (mimetypes.guess_type(name)[0] or "").startswith(_NO_PHOTOS):
                passed[file.suffix.lower()] += 1
        seen.add(real)
    kinds = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in sorted(passed.items()))
    return found, f": {kinds}" if kinds else ""


def _is_sheet(file: Path) -> bool:
    """Whether a picture shows several images, as its start says."""
    with suppress(OSError), open_file(file) as opened:
        return SHEET.encode() in opened.read(256)
    return False


def _refuse(error: OSError) -> None:
    """Pass over no folder in silence."""
    raise error


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """A key by which 2 comes before 10, folder by folder: words and numbers by turns."""
    runs = [re.split(r"(\d+)", part.lower()) for part in path.parts]
    return [[int(run) if place % 2 else run for place, run in enumerate(part)] for part in runs], str(path)
