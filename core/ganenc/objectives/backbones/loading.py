"""Backbones by name: each loaded once, frozen, and shared by all who ask for it; published weights are fetched once, to
torch's own cache, if the network allows."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from urllib.parse import urlparse

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context, component_class
from ganenc_registry.errors import DownloadError, GanencError, WeightsMissingError
from ganenc_registry.specs import Choice, GeneratorSpec

from ganenc.encoders import frozen_backbone
from ganenc.files import download
from ganenc.objectives.backbones.base import Backbone

DEFAULT_BACKBONE = "vgg16"
"""The paper's (section 3.2)."""
NO_BACKBONE = "none"
"""In place of a name: none is to be used."""
_log = logging.getLogger(__name__)


def load_backbone(choice: str | Choice | Backbone, *, device: str | torch.device = "cpu") -> Backbone:
    """A registered backbone, as `ganenc.encoders.frozen_backbone` gives it, or one at hand, frozen and moved to the
    device."""
    if isinstance(choice, Backbone):
        return choice.freeze().to(device)
    backbone: Backbone = frozen_backbone(choice, torch.device(device), base=Backbone, at="backbone")
    return backbone


def context_for(
    backbone: str | Choice | Backbone | None = None,
    generator: GeneratorSpec | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Context:
    """What losses, attentions and metrics are built for: a backbone (vgg16 by default), loaded when it is first asked
    for, and the value range of a generator's images (without one, -1 to 1)."""
    value_range = (-1.0, 1.0) if generator is None else generator.value_range
    chosen = backbone or DEFAULT_BACKBONE
    load = partial(load_backbone, chosen, device=device)
    return Context(generator, value_range, str(device), load_backbone=load)


def available_backbones(*, besides: str = "") -> list[str]:
    """The names of the registered backbones whose weights are on disk, sorted, without the one named ``besides``."""
    names: list[str] = []
    for name in sorted(registry().names("backbone")):
        try:
            if name != besides and component_class("backbone", name, Backbone).available():
                names.append(name)
        except GanencError:  # A plugin that cannot be imported offers nothing.
            continue
    return names


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
        others = available_backbones(besides=backbone)
        works = (
            f"Or take a backbone that works now: {', '.join(others)}." if others else "No other backbone is on disk."
        )
        raise WeightsMissingError(
            f"The weights of the backbone {backbone!r} are not on disk and could not be fetched ({error}). "
            f"Put {path.name} (from {url}) into {path.parent}. {works}"
        ) from None
    return path
