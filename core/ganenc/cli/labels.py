"""The classes of photos, as ``--labels`` gives them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import SpecError, nearest

from ganenc.cli.options import integers

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session

__all__ = ["WAYS", "class_text", "folder_classes", "photo_labels", "written_classes"]

WAYS = ("predicted", "searched")
"""The ways to find the class of a photo; the other words take it from its name."""
PLACES = ("folders", "names")


def photo_labels(text: str | None, photos: Sequence[Path], session: Session) -> Tensor | str | None:
    """What ``--labels`` says about photos.

    Args:
        text: numbers with commas between, one each or one for all; ``folders`` (data/3/x.jpg) or ``names`` (3-x.jpg);
            the file of a table of photos and classes; ``predicted`` or ``searched``.
        photos: the files.
        session: with the generator whose classes they are.

    Returns:
        classes int64 (N,); or the way to find them; or None where nothing is said.

    Raises:
        SpecError: if the text is none of these, a photo has no class, or one is no class of the generator.
    """
    if text is None:
        return None
    if text in WAYS:
        session.need_classes()
        return text
    return session.labels(written_classes(text, photos), len(photos))


def written_classes(text: str, photos: Sequence[Path]) -> list[int]:
    """The classes that numbers, names or a file give to photos: one each, or one for all.

    Args:
        text: numbers with commas between; ``folders`` or ``names``; the file of a table of photos and classes.
        photos: the files.

    Raises:
        SpecError: if the text is none of these, or a photo has no class.
    """
    if text in PLACES:
        return [_named(photo, text) for photo in photos]
    numbers = re.fullmatch(r"[-\d\s,]+", text) is not None
    if not numbers and os.path.isfile(text):
        table = _table(Path(text))
        return [_looked_up(photo, table, text) for photo in photos]
    if not numbers:
        known = (*PLACES, *WAYS)
        raise SpecError(
            f"--labels takes classes, such as 3 or 0,4,4, a file of photos and classes, or {', '.join(known)}; there is"
            f" no {text!r}{nearest(text, known)}."
        )
    return integers(text) or []


def folder_classes(photos: Sequence[Path], classes: int) -> list[int] | None:
    """The classes by which the photos' folders are named (data/3/x.jpg), or None unless every folder is named so."""
    names = [photo.absolute().parent.name for photo in photos]
    if not all(name.isdecimal() and int(name) < classes for name in names):
        return None
    return [int(name) for name in names]


def class_text(label: Any, source: str | None) -> str:
    """A class and how it came, such as ``3 (predicted)``; nothing where there is none."""
    return "" if source is None else f"{label} ({source})"


def _named(photo: Path, where: str) -> int:
    """The number with which the name of a photo, or of its folder, begins."""
    name = photo.absolute().parent.name if where == "folders" else photo.name
    found = re.match(r"\d+(?![A-Za-z0-9])", name)
    if found is None:
        what = f"the folder {name!r}" if where == "folders" else "its name"
        raise SpecError(
            f"--labels {where}: {photo} has no class, as {what} begins with no number; give a file of labels."
        )
    return int(found[0])


def _looked_up(photo: Path, table: Mapping[str, int], file: str) -> int:
    """The class of a photo; the table may name it by its file's name or by any longer part of its path."""
    parts = photo.absolute().parts
    for first in range(len(parts)):
        label = table.get(Path(*parts[first:]).as_posix())
        if label is not None:
            return label
    raise SpecError(f"--labels: {file} has no class for {photo}; name it there by its file's name or its path.")


def _table(file: Path) -> dict[str, int]:
    """A file of photos and classes: JSON (a mapping, or pairs, both also under ``labels``), or a line for each photo.

    In lines a comma, or else white space, stands before the class; a first line of headings is passed over.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        pairs = _json_pairs(text) if file.suffix.lower() == ".json" else _line_pairs(text)
        return {_posix(name): _number(label) for name, label in pairs}
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(
            f"--labels: {file} cannot be read ({error}); it has to hold a line 'photo,class' for each photo, or"
            " JSON that maps photos to classes."
        ) from None


def _json_pairs(text: str) -> list[tuple[Any, Any]]:
    data = json.loads(text)
    if isinstance(data, Mapping) and isinstance(data.get("labels"), Mapping | list):
        data = data["labels"]
    return list(data.items()) if isinstance(data, Mapping) else [(name, label) for name, label in data]


def _line_pairs(text: str) -> list[tuple[Any, Any]]:
    pairs = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, label = line.rsplit("," if "," in line else None, 1)
        pairs.append((name.strip().strip('"'), label.strip().strip('"')))
    return pairs[1:] if pairs and not pairs[0][1].isdecimal() else pairs


def _posix(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} names no photo")
    return Path(name).as_posix()


def _number(label: Any) -> int:
    if isinstance(label, bool | float) or int(label) < 0:
        raise ValueError(f"{label!r} is no class")
    return int(label)
