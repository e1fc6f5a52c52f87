"""Backbones by name: each loaded once, frozen, and shared by all who ask for it."""

from __future__ import annotations

from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.errors import GanencError, PluginError

from ganenc.objectives.backbones.base import Backbone

__all__ = ["available_backbones", "load_backbone"]

_loaded: dict[tuple[Any, torch.device], Backbone] = {}  # by factory, as a name may come to mean another one


def load_backbone(name: str | Backbone, *, device: str | torch.device = "cpu") -> Backbone:
    """Load a registered backbone, frozen; asked for again on the same device, it is the same one.

    Args:
        name: a registered name, or a backbone of your own, which is frozen and moved.
        device: where it is to be.

    Returns:
        the backbone, in eval mode, without weight gradients.

    Raises:
        UnknownNameError: if no backbone has that name.
        WeightsMissingError: if its weights are not on disk and cannot be fetched.
        PluginError: if what is registered does not give a backbone.
    """
    place = _indexed(torch.device(device))
    if isinstance(name, Backbone):
        return name.freeze().to(place)
    factory = registry().resolve("backbone", name)
    kept = _loaded.get((factory, place))
    if kept is not None and _device_of(kept) in (place, None):
        return kept.freeze()
    with torch.inference_mode(False):
        backbone = factory()
        if not isinstance(backbone, Backbone):
            kind = type(backbone).__name__
            raise PluginError(
                f"The backbone {name!r} is built by {factory!r}, which gives a {kind}; it has to give a Backbone."
            )
        backbone = backbone.freeze().to(place)
        if place.type in ("cpu", "cuda"):
            backbone = backbone.to(memory_format=torch.channels_last)
        _loaded[factory, place] = backbone
    return backbone


def available_backbones(*, besides: str = "") -> list[str]:
    """The names of the registered backbones whose weights are on disk, sorted, without the one named ``besides``."""
    names: list[str] = []
    for name in sorted(registry().names("backbone")):
        if name == besides:
            continue
        try:
            factory = registry().resolve("backbone", name)
            if getattr(factory, "available", lambda: True)():
                names.append(name)
        except GanencError:  # A plugin that cannot be imported offers nothing.
            continue
    return names


def _device_of(backbone: Backbone) -> torch.device | None:
    return next((tensor.device for tensor in [*backbone.parameters(), *backbone.buffers()]), None)


def _indexed(device: torch.device) -> torch.device:
    """The device with its index, so that ``cuda`` and ``cuda:0`` are one."""
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.empty(0, device=device).device
