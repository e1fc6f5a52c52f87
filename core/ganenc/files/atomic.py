"""Atomic writes: a reader sees the old file or the new one, never half of one; and what others wrote stays."""

from __future__ import annotations

import io
import json
import os
import re
import uuid
import zipfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ganenc_registry.errors import WriteError
from ganenc_registry.opening import open_file

_STEM = 60
"""Characters of a file's name that its temporary one keeps."""
_TEMPORARY = re.compile(rf"\.ganenc-(.{{0,{_STEM}}})-[0-9a-f]{{32}}(\..*)?", re.DOTALL)
"""What temporary names look like: the name, a dash, 32 hexadecimal digits, the suffix."""
MARK = "written by ganenc"
"""Every file that is written says so near its start or end; JSON and tensors have it as a field."""
_MARK = re.compile(rb"written[ _]by\W{1,5}ganenc")
_LOOKED_AT = 1 << 16
_LONGEST_HEADER = 100_000_000
"""That safetensors reads."""


@contextmanager
def atomic_path(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``, with its suffix, to write to; at the end of the block it is put in place.

    The folder is made if it is missing. If the block raises, ``path`` stays as it was and the temporary file goes.
    `WriteError` if folder or file cannot be written, or, without ``replace``, another program's would be lost.
    """
    path = Path(path)
    temporary = path.with_name(f".ganenc-{path.stem[:_STEM]}-{uuid.uuid4().hex}{path.suffix}")
    if not replace:
        check_ours(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _writing(path, temporary):
            yield temporary
            _flush(temporary, os.O_RDWR)  # Windows syncs no file that is open for reading alone.
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with suppress(OSError):  # Some file systems cannot sync a folder; the file itself is safe by now.
        _flush(path.parent)


def is_ours(path: str | Path) -> bool:
    """Whether writing there loses nothing of others: ganenc wrote what is there, or nothing is, or nothing is in it."""
    if not os.path.lexists(path):
        return True
    try:
        with open_file(path) as file:
            start = file.read(_LOOKED_AT)
            end = 8 + int.from_bytes(start[:8], "little")  # Of the header of tensors, which has the mark anywhere.
            if start[8:9] == b"{" and end <= min(os.fstat(file.fileno()).st_size, _LONGEST_HEADER):
                start += file.read(max(0, end - len(start)))
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOOKED_AT))
            return not start or bool(_MARK.search(start) or _MARK.search(file.read()))
    except OSError:
        return False


def check_ours(*paths: str | Path) -> None:
    """A `WriteError` if a file there `is_ours` not."""
    for path in paths:
        if not is_ours(path) and (os.path.islink(path) or not os.path.isdir(path)):
            raise WriteError(path, "it is there already, and ganenc did not write it")


def drop_leftovers(folder: str | Path, *, of: Container[str] | None = None) -> list[Path]:
    """Delete, and return, the temporary files that writes to a folder left when their process was killed, all or those
    of files of some names. Only where nothing else writes to them meanwhile: its temporary file would go, too."""
    folder = Path(folder)
    names = [(path, _TEMPORARY.fullmatch(path.name)) for path in folder.iterdir()] if folder.is_dir() else []
    left = [path for path, found in names if found and (of is None or found[1] + (found[2] or "") in of)]
    for path in left:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return left


def write_bytes(path: str | Path, data: bytes, *, replace: bool = False) -> None:
    """Write ``data``, which should hold `MARK`, to ``path``; see `atomic_path`."""
    with atomic_path(path, replace=replace) as temporary:
        temporary.write_bytes(data)


def marked_archive(content: io.BytesIO) -> bytes:
    """The bytes of an archive of torch's, with an empty member called `MARK`. Torch's own writing to a file refuses
    some names, and ends the process where the disk is full."""
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{MARK}", b"")
    return content.getvalue()


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, in UTF-8, with line ends as they are. What UTF-8 lacks, of names of files
    that are not in it, is written as JSON escapes it, such as ``\\udcff``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, data: object, *, replace: bool = False) -> None:
    """Write ``data``, in a mapping also the `MARK`, to ``path`` atomically, as indented JSON. Numbers that JSON lacks
    (NaN and the infinities) become ``null``, so that any reader can open the file."""
    marked = finite({"written_by": "ganenc", **data} if isinstance(data, Mapping) else data)
    text = json.dumps(marked, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), replace=replace)


def finite(data: object) -> Any:
    """Plain data as JSON gives it back, with ``None`` in place of the numbers that JSON does not have."""
    return json.loads(json.dumps(data), parse_constant=lambda _: None)


def _flush(path: Path, access: int = os.O_RDONLY) -> None:
    """Ask the system to put the file or folder on the disk now."""
    handle = os.open(path, access)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Errors of the system as a `WriteError`, but for those of other files than the temporary one, if one is given."""
    try:
        yield
    except OSError as error:
        if temporary is not None and error.filename is not None and Path(error.filename) != temporary:
            raise
        raise WriteError(path, error.strerror or str(error)) from None
