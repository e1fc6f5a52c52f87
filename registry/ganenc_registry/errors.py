"""Every error a user can cause. Each message says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DownloadError",
    "ExportError",
    "GanencError",
    "ImageError",
    "LatentsError",
    "NameTakenError",
    "PluginError",
    "SpecError",
    "TrainingError",
    "UnknownNameError",
    "WeightsMissingError",
    "WriteError",
    "nearest",
    "path_fault",
    "shortened",
    "told",
]


_LONG = re.compile(r"'[^'\n]{300,}'|\"[^\"\n]{300,}\"|\S{300,}")
"""A quotation or a word that is too long to be read."""


class GanencError(Exception):
    """The base of every error a user can cause. What its message quotes is shortened where it is very long."""

    def __str__(self) -> str:
        return shortened(super().__str__())


class SpecError(GanencError):
    """A spec has an unknown or wrong field, or its parts do not fit together."""


class UnknownNameError(GanencError):
    """Nothing of that kind is registered under that name."""


class NameTakenError(GanencError):
    """Two owners contribute the same name of the same kind."""


class PluginError(GanencError):
    """A plugin cannot be loaded, or what it contributes cannot be imported."""


class CheckpointError(GanencError):
    """A file with weights cannot be read, is not safe to read, or does not hold what it should."""


class ImageError(GanencError):
    """A photo cannot be read."""


class LatentsError(GanencError):
    """Latents do not fit a layout, a space, or one another."""


class DownloadError(GanencError):
    """A file cannot be fetched, or is not the one that was published."""


class ExportError(GanencError):
    """A network cannot be written for other programs, or what was written does not give the same."""


class WeightsMissingError(GanencError):
    """Published weights are not on disk and cannot be fetched."""


class WriteError(GanencError):
    """A file or folder cannot be written, for a ``reason`` that the system gives."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}. Choose another place or make room there.")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[WriteError], tuple[object, str]]:
        return type(self), (self.path, self.reason)


class TrainingError(GanencError):
    """A run cannot start, go on or be resumed."""


class DeviceError(GanencError):
    """The device asked for is not there."""


def shortened(text: str) -> str:
    """A message, with the middle left out of very long words and quotations, and of the whole where it is endless."""
    text = _LONG.sub(lambda found: f"{found[0][:150]}…{found[0][-50:]}", text)
    return text if len(text) <= 4000 else f"{text[:3000]} … {text[-500:]}"


@contextmanager
def told(kind: type[GanencError]) -> Iterator[None]:
    """Raise an `OSError` as an error of a kind, in one sentence."""
    try:
        yield
    except OSError as error:
        raise kind(path_fault(error)) from None


def path_fault(error: OSError) -> str:
    """What the system refuses, in one sentence."""
    what = f"{error.filename} cannot be read or written" if error.filename else "The output cannot be written"
    return f"{what}: {error.strerror or error}; check the name, the permissions and the room there."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``name``, or an empty string."""
    if len(name) > 100:  # No slip of the hand, and long to compare.
        return ""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
