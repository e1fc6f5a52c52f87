"""Turn any pre-trained GAN into an auto-encoder. Importing this imports no torch; each name loads when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ganenc_registry import GanencError, register, registry
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, RunSpec, preset

if TYPE_CHECKING:
    from ganenc import align as align
    from ganenc import directions as directions
    from ganenc import editing as editing
    from ganenc import images as images
    from ganenc.attention import Attention as Attention
    from ganenc.attention import View as View
    from ganenc.backbones import Backbone as Backbone
    from ganenc.backbones import load_backbone as load_backbone
    from ganenc.blocks import EncoderBlock as EncoderBlock
    from ganenc.checkpoint import Checkpoint as Checkpoint
    from ganenc.checkpoint import read_checkpoint as read_checkpoint
    from ganenc.directions import Direction as Direction
    from ganenc.encoder import Encoder as Encoder
    from ganenc.encoder import build_encoder as build_encoder
    from ganenc.generator import Generator as Generator
    from ganenc.inverters import Inversion as Inversion
    from ganenc.inverters import Inverter as Inverter
    from ganenc.inverters import invert as invert
    from ganenc.latents import Latents as Latents
    from ganenc.losses import Loss as Loss
    from ganenc.models import build_generator as build_generator
    from ganenc.models import load_encoder as load_encoder
    from ganenc.models import load_generator as load_generator
    from ganenc.models import model_hash as model_hash
    from ganenc.models import save_pretrained as save_pretrained
    from ganenc.objective import Objective as Objective
    from ganenc.objective import build_objective as build_objective
    from ganenc.training import execute as execute
    from ganenc.training import finetune as finetune
    from ganenc.training import pretrain as pretrain

__version__ = "0.1.0"

_PLACES = {
    "Attention": "attention",
    "Backbone": "backbones",
    "Checkpoint": "checkpoint",
    "Direction": "directions",
    "Encoder": "encoder",
    "EncoderBlock": "blocks",
    "Generator": "generator",
    "Inversion": "inverters",
    "Inverter": "inverters",
    "Latents": "latents",
    "Loss": "losses",
    "Objective": "objective",
    "View": "attention",
    "build_encoder": "encoder",
    "build_generator": "models",
    "build_objective": "objective",
    "execute": "training",
    "finetune": "training",
    "invert": "inverters",
    "load_backbone": "backbones",
    "load_encoder": "models",
    "load_generator": "models",
    "model_hash": "models",
    "pretrain": "training",
    "read_checkpoint": "checkpoint",
    "save_pretrained": "models",
}

__all__ = [
    "EncoderSpec",
    "GanencError",
    "GeneratorSpec",
    "RunSpec",
    "align",
    "directions",
    "editing",
    "images",
    "preset",
    "register",
    "registry",
    *sorted(_PLACES),
]


def __getattr__(name: str) -> Any:
    if name in ("align", "directions", "editing", "images"):
        return importlib.import_module(f"ganenc.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(f"ganenc.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'ganenc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
