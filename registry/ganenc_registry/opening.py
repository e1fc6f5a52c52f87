"""Opens what lies where others may have put it: nothing is waited for, or read without end."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["LARGEST", "fixed_path", "open_file", "read_text"]

LARGEST = 1 << 24
"""The most characters of a spec, or of JSON that lies with weights; parsed, they take some twenty times that."""


def open_file(path: str | Path, mode: str = "rb", **options: Any) -> Any:
    """`open` for regular files alone: an `OSError` for pipes, devices, sockets and folders, for a link in the place of
    a file that is to be written, and for what no file can be called."""
    try:
        return open(path, mode, opener=_regular, **options)
    except ValueError:
        raise OSError(errno.EINVAL, "no file can be called that", str(path)) from None


@contextmanager
def fixed_path(path: str | Path) -> Iterator[str]:
    """A path of a regular file for those who open it themselves, whatever is put in its place meanwhile (where the
    system has such paths). `OSError` as `open_file`."""
    with open_file(path) as file:
        fixed = f"/dev/fd/{file.fileno()}"
        yield fixed if os.path.exists(fixed) else str(path)


def read_text(path: str | Path, most: int = 1 << 30, *, encoding: str = "utf-8") -> str:
    """The text in a file. `OSError` if it cannot be read; `ValueError` if it is no text, or of more than ``most``
    characters."""
    with open_file(path, "r", encoding=encoding) as file:
        text: str = file.read(most + 1)
    if len(text) > most:
        raise ValueError("it is far too large")
    return text


def _regular(path: str, flags: int) -> int:
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | (writes and getattr(os, "O_NOFOLLOW", 0)), 0o666)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "it is no regular file", path)
