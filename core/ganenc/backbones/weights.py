"""Where published weights lie, and how they get there: torch's own cache, filled once if the network allows."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlparse

import torch
from ganenc_registry.errors import GanencError, WeightsMissingError

from ganenc.atomic import atomic_path

__all__ = ["checkpoint_path", "fetch"]

PATIENCE = 8.0
"""Seconds to wait for a site to answer, from the look-up of its name to its first byte."""
_CHUNK = 1 << 20
_log = logging.getLogger(__name__)


def checkpoint_path(url: str) -> Path:
    """Where the file at ``url`` lies once it is fetched: in torch's cache (``TORCH_HOME``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def fetch(url: str, backbone: str) -> Path:
    """Give the path of the file at ``url``, fetched now if it is not on disk.

    Args:
        url: where the file is published; its name carries the start of its SHA-256, which is checked.
        backbone: the name of the backbone that needs it, for the error.

    Raises:
        WeightsMissingError: naming the file, the folder it belongs in, and the backbones that work now.
    """
    path = checkpoint_path(url)
    if path.is_file():
        return path
    _log.info("Fetching %s to %s", url, path)
    try:
        _download(url, path)
    except (OSError, HTTPException, ValueError, GanencError) as error:
        from ganenc.backbones.loading import available_backbones

        others = available_backbones(besides=backbone)
        works = (
            f"Or take a backbone that works now: {', '.join(others)}." if others else "No other backbone is on disk."
        )
        reason = str(getattr(error, "reason", None) or error).rstrip(".")
        raise WeightsMissingError(
            f"The weights of the backbone {backbone!r} are not on disk and could not be fetched ({reason}). "
            f"Put {path.name} (from {url}) into {path.parent}. {works}"
        ) from None
    return path


def _download(url: str, path: Path) -> None:
    """Stream the file to its place; it appears there only whole, with the SHA-256 that its name promises."""
    promised = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digest = hashlib.sha256()
    with closing(_open(url)) as source, atomic_path(path) as temporary:
        with temporary.open("wb") as out:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if promised and not digest.hexdigest().startswith(promised[1]):
            raise ValueError("what came is not the file that was published")


def _open(url: str) -> IO[bytes]:
    """Open ``url``, giving up after `PATIENCE`: looking up a name has no limit of its own, so it runs in a thread."""
    outcome: list[IO[bytes] | Exception] = []

    def connect() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=PATIENCE))
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
