"""Files with landmarks, for photos that were marked by hand or by another program."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ganenc_registry.errors import ImageError, SpecError, nearest
from ganenc_registry.opening import read_text
from ganenc_registry.plain_data import parse_json

from ganenc_plugin_faces.crop import COUNTS, Points

__all__ = ["Landmarks", "read_landmarks"]

EVERY = ""
_COUNTS = ", ".join(map(str, sorted(COUNTS)))


class Landmarks:
    """The landmarks of photos, by the name of their file.

    Args:
        path: the file that they come from.
        points: landmarks (P, 2) by name; under the empty name, those of a photo that the file does not name.
    """

    def __init__(self, path: Path, points: Mapping[str, Points]) -> None:
        self.path = path
        self.points = dict(points)

    def of(self, name: str) -> Points:
        """The landmarks of a photo, by its path or name.

        Raises:
            ImageError: if the file has none for it.
        """
        if EVERY in self.points:
            return self.points[EVERY]
        if not name:
            raise ImageError(
                f"{self.path} has landmarks by the names of photos, and this photo's name is not known: give `name`."
            )
        for known in (str(name), Path(name).name):
            if known in self.points:
                return self.points[known]
        close = nearest(Path(name).name, self.points)
        raise ImageError(f"{self.path} has no landmarks of {Path(name).name}{close}; add a line for it.")


def read_landmarks(path: str | Path) -> Landmarks:
    """Read a file with landmarks.

    JSON: ``{"photo.jpg": [[x, y], ...], ...}``, or a list of points alone for one photo. CSV: lines of
    ``photo.jpg,x,y,x,y,...``, the first may name the columns. Points are counted as programs that mark them do, the
    middle of the first pixel at (0, 0), in the upright photo.

    Raises:
        SpecError: if the file is missing, is neither, or has other than 4, 5 or 68 points of a photo.
    """
    path = Path(path)
    try:
        text = read_text(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise SpecError(f"The landmarks {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    found = _rows(text, path) if path.suffix.lower() == ".csv" else _json(text, path)
    points = {name: _points(values, path, name) for name, values in found.items()}
    if not points:
        raise SpecError(f"The landmarks {path} are of no photo at all; add some.")
    return Landmarks(path, points)


def _json(text: str, path: Path) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise SpecError(f"The landmarks {path} are not JSON ({error}); a table must be called .csv.") from None
    return found if isinstance(found, dict) else {EVERY: found}


def _rows(text: str, path: Path) -> dict[str, list[str]]:
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if rows and not _is_number(rows[0][1] if len(rows[0]) > 1 else ""):
        del rows[0]
    names = [row[0].strip() for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"The landmarks {path} have {twice[0]} twice; leave one face of each photo.")
    return dict(zip(names, (row[1:] for row in rows), strict=True))


def _points(values: Any, path: Path, name: str) -> Points:
    of = f" of {name}" if name else ""
    try:
        points = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise SpecError(f"The landmarks{of} in {path} are not pairs of numbers, x and y.") from None
    if len(points) not in COUNTS or not np.isfinite(points).all():
        raise SpecError(f"The landmarks{of} in {path} are {len(points)} points; {_COUNTS} finite ones are understood.")
    return points + 0.5


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
