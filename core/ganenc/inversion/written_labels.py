"""The classes of photos as people write them: numbers, names of folders or files, a table, or a way to find them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.opening import read_text
from ganenc_registry.plain_data import parse_json, to_integer, to_integers
from ganenc_registry.specs import MANY

from ganenc.files import as_text
from ganenc.inversion.photo_classes import Finding

PLACES = ("folders", "names")


def read_labels(labels: str | Sequence[int], photos: Sequence[Path], *, classes: int | None = None) -> list[int] | str:
    """``predicted`` or ``searched``, the ways to find classes, as they are; all else as in `written_labels`."""
    if isinstance(labels, str) and labels in get_args(Finding) and classes != 0:
        return labels
    return written_labels(labels, photos, classes=classes)


def written_labels(labels: str | Sequence[int], photos: Sequence[Path], *, classes: int | None = None) -> list[int]:
    """What is written about the classes of photos => a class of each, checked against ``classes`` where that is known.

    ``labels`` are numbers, or a text of numbers with commas between, one each or one for all; ``folders``
    (data/3/x.jpg) or ``names`` (3-x.jpg); or the file of a table of photos and classes. A SpecError says that it is
    none of these, a photo has no class, or one is no class.
    """
    if classes == 0:
        raise SpecError("labels: the model has no classes, so they are of no use; leave them out.")
    found = _written(labels, photos) if isinstance(labels, str) else list(labels)
    if len(found) not in (1, len(photos)):
        raise SpecError(f"labels: {len(found)} are given for {len(photos)} photos; give one each, or one for all.")
    if classes is not None and max(found) >= classes:
        raise SpecError(f"labels: {max(found)} is no class of the model; they run from 0 to {classes - 1}.")
    return found * (len(photos) if len(found) == 1 else 1)


def folder_labels(photos: Sequence[Path], classes: int) -> list[int] | None:
    """The classes by which the photos' folders are named (data/3/x.jpg), or None unless every folder is named so."""
    names = [photo.absolute().parent.name for photo in photos]
    return [int(name) for name in names] if all(name.isdecimal() and int(name) < classes for name in names) else None


def _written(text: str, photos: Sequence[Path]) -> list[int]:
    if text in PLACES:
        return [_named(photo, text) for photo in photos]
    if re.fullmatch(r"[-\d\s,]+", text):
        try:
            return to_integers(text)
        except ValueError as error:
            raise SpecError(f"labels: classes are {error}.") from None
    if text in get_args(Finding):
        raise SpecError(f"labels {text}: here the classes have to be given, as numbers, by names or by a file.")
    if os.path.isfile(text):
        table = _table(Path(text))
        return [_looked_up(photo, table, text) for photo in photos]
    known = (*PLACES, *get_args(Finding))
    raise SpecError(
        f"labels: they are classes, such as 3 or 0,4,4, a file of photos and classes, or {', '.join(known)}; there is"
        f" no {text!r}{nearest(text, known)}."
    )


def _named(photo: Path, where: str) -> int:
    """The number with which the name of a photo, or of its folder, begins."""
    name = photo.absolute().parent.name if where == "folders" else photo.name
    found = re.match(r"\d+(?![A-Za-z0-9])", name)
    if found is None:
        what = f"the folder {name!r}" if where == "folders" else "its name"
        raise SpecError(
            f"labels {where}: {photo} has no class, as {what} begins with no number; give a file of labels."
        )
    return int(found[0])


def _looked_up(photo: Path, table: Mapping[str, int], file: str) -> int:
    """The class of a photo; the table may name it by its file's name or by any longer part of its path."""
    parts = Path(as_text(photo.absolute())).parts
    for first in range(len(parts)):
        label = table.get(Path(*parts[first:]).as_posix())
        if label is not None:
            return label
    raise SpecError(f"labels: {file} has no class for {photo}; name it there by its file's name or its path.")


def _table(file: Path) -> dict[str, int]:
    """A file of photos and classes: JSON (a mapping, or pairs, both also under ``labels``), or a line for each photo,
    with a comma, or else white space, before the class; a first line of headings is passed over."""
    try:
        text = read_text(file, encoding="utf-8-sig")
        pairs = _json_pairs(text) if file.suffix.lower() == ".json" else _line_pairs(text)
        return {_posix(name): _number(label) for name, label in pairs}
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(
            f"labels: {file} cannot be read ({error}); it has to hold a line 'photo,class' for each photo, or JSON that"
            " maps photos to classes."
        ) from None


def _json_pairs(text: str) -> list[tuple[Any, Any]]:
    data = parse_json(text)
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
    number = -1 if isinstance(label, bool | float) else to_integer(str(label))
    if not 0 <= number <= MANY:
        raise ValueError(f"{label!r} is no class")
    return number
