"""A site on this machine that serves files, well or badly. Tests import it as ``servers``."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

__all__ = ["Site", "need_loopback", "serving"]


class Site:
    """What a site serves, how, and what it was asked for.

    Attributes:
        url: its address, without a slash at the end.
        files: bytes by path.
        asked: the path and the ``Range`` of each request, in order.
        ranges: whether it sends a part of a file if asked for one.
        tag: the header that tells a version of a file from another: ``ETag``, ``Last-Modified``, or empty.
        cuts: after how many bytes it breaks off, for each request to come; None sends all.
        gate: answers wait until it is set.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.tag = "ETag"
        self.cuts: list[int | None] = []
        self.gate = threading.Event()
        self.gate.set()

    def version(self, path: str) -> str:
        """What the tag says of the file as it is now."""
        digest = hashlib.md5(self.files[path]).hexdigest()
        if self.tag == "Last-Modified":
            return f"Mon, 01 Jan 2024 00:{int(digest, 16) % 60:02d}:{int(digest, 16) // 60 % 60:02d} GMT"
        return f'"{digest}"'


def need_loopback(port: int) -> None:
    """Skip the test where a machine cannot even reach itself, as in a namespace without any network interface."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except OSError as error:
        pytest.skip(f"this machine cannot reach its own address 127.0.0.1: {error}")


@contextmanager
def serving() -> Iterator[Site]:
    """A site that runs until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(site, self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        need_loopback(server.server_port)
        yield site
    finally:
        site.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(site: Site, handler: BaseHTTPRequestHandler) -> None:
    asked = handler.headers.get("Range")
    site.asked.append((handler.path, asked))
    site.gate.wait(30)
    data = site.files.get(handler.path)
    if data is None:
        handler.send_error(404)
        return
    start = _start(site, handler, asked)
    if start and start >= len(data):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(data)}")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    if site.tag:
        handler.send_header(site.tag, site.version(handler.path))
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    cut = site.cuts.pop(0) if site.cuts else None
    with suppress(ConnectionError):  # Whoever asked may be gone.
        handler.wfile.write(data[start:] if cut is None else data[start : start + cut])


def _start(site: Site, handler: BaseHTTPRequestHandler, asked: str | None) -> int:
    """Where to begin: where was asked for, unless the file is no longer the one that was meant."""
    found = re.fullmatch(r"bytes=(\d+)-", asked or "")
    same = handler.headers.get("If-Range") in (None, "", site.version(handler.path))
    return int(found[1]) if found and site.ranges and same else 0
