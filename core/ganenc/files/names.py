"""Names of files and folders as text that means the same on every machine, and names that come out of files."""

from __future__ import annotations

import os
from pathlib import Path


def as_text(path: str | Path) -> str:
    """A path as text: its bytes read as UTF-8, whatever this machine's encoding; what is not UTF-8 as surrogates."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def as_path(text: str) -> str:
    """The path that `as_text` made a text of; `ValueError` if there can be none."""
    path = os.fsdecode(text.encode("utf-8", "surrogateescape"))
    if "\0" in path:
        raise ValueError("no file can be called that")
    return path


def is_plain_name(name: str) -> bool:
    """Whether a file or folder of that name lies in the folder that it is looked for in."""
    return name not in ("", "..") and Path(name).name == name and "\0" not in name and len(os.fsencode(name)) < 256
