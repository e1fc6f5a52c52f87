"""Backbones by name: each loaded once, frozen, and shared by all who ask for it."""

from __future__ import annotations

from functools import partial

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context, component_class
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import Choice, GeneratorSpec

from ganenc.encoders import frozen_backbone
from ganenc.objectives.backbones.base import Backbone

DEFAULT_BACKBONE = "vgg16"
"""The paper's (section 3.2)."""
NO_BACKBONE = "none"
"""In place of a name: none is to be used."""


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
