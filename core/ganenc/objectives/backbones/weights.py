"""Where published weights lie, and how they get there: torch's own cache, filled once if the network allows."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import urlparse

import torch
from ganenc_registry.errors import DownloadError, WeightsMissingError

from ganenc.files import download

_log = logging.getLogger(__name__)


def checkpoint_path(url: str) -> Path:
    """Where the file at ``url`` lies once it is fetched: in torch's cache (``TORCH_HOME``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def fetch(url: str, backbone: str) -> Path:
    """The path of the file at ``url``, fetched now if it is not on disk; its name carries the start of its SHA-256,
    which is checked. `WeightsMissingError` names the file, its folder, and the backbones that work now."""
    path = checkpoint_path(url)
    if path.is_file():
        return path
    _log.info("Fetching %s to %s", url, path)
    promised = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        download(url, path, checksum=f"sha256:{promised[1]}" if promised else None)
    except DownloadError as error:
        from ganenc.objectives.backbones.loading import available_backbones

        others = available_backbones(besides=backbone)
        works = (
            f"Or take a backbone that works now: {', '.join(others)}." if others else "No other backbone is on disk."
        )
        raise WeightsMissingError(
            f"The weights of the backbone {backbone!r} are not on disk and could not be fetched ({error}). "
            f"Put {path.name} (from {url}) into {path.parent}. {works}"
        ) from None
    return path
