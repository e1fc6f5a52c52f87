"""Backbones by name: each loaded once, frozen, and shared by all who ask for it."""

from __future__ import annotations

from functools import partial

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context, component_class, read_options
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import Choice, GeneratorSpec

from ganenc.generators import apart, check_weights
from ganenc.objectives.backbones.base import Backbone

DEFAULT_BACKBONE = "vgg16"
"""The paper's (section 3.2)."""
NO_BACKBONE = "none"
"""In place of a name: none is to be used."""
_loaded: dict[tuple[type[Backbone], str, torch.device], Backbone] = {}  # by class, as a name may come to mean another


def load_backbone(choice: str | Choice | Backbone, *, device: str | torch.device = "cpu") -> Backbone:
    """A registered backbone, frozen and the same one each time, or one at hand, frozen and moved to the device. The
    errors are those of `ganenc_registry.components.build`, and `WeightsMissingError` if its weights are not on disk and
    cannot be fetched; `CheckpointError` if they are not finite."""
    place = _indexed(torch.device(device))
    if isinstance(choice, Backbone):
        return choice.freeze().to(place)
    kind = component_class("backbone", choice if isinstance(choice, str) else choice.name, Backbone)
    options = read_options("backbone", choice, Backbone, at="backbone")
    key = (kind, options.to_json(), place)
    kept = _loaded.get(key)
    if kept is not None and _device_of(kept) in (place, None):
        return kept.freeze()
    with apart():
        backbone = kind(options, Context(device=str(place))).freeze().to(place)
        if place.type in ("cpu", "cuda"):
            backbone = backbone.to(memory_format=torch.channels_last)
        check_weights(backbone, f"the backbone {choice if isinstance(choice, str) else choice.name}")
        _loaded[key] = backbone
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


def _device_of(backbone: Backbone) -> torch.device | None:
    return next((tensor.device for tensor in [*backbone.parameters(), *backbone.buffers()]), None)


def _indexed(device: torch.device) -> torch.device:
    """The device with its index, so that ``cuda`` and ``cuda:0`` are one."""
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.empty(0, device=device).device
