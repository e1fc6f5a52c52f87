"""Turn any pre-trained GAN into an auto-encoder. Importing this imports no torch; each name loads when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import lazy_loader

if TYPE_CHECKING:
    from ganenc_registry import GanencError as GanencError
    from ganenc_registry import register as register
    from ganenc_registry import registry as registry
    from ganenc_registry.specs import EncoderSpec as EncoderSpec
    from ganenc_registry.specs import GeneratorSpec as GeneratorSpec
    from ganenc_registry.specs import InvertSpec as InvertSpec
    from ganenc_registry.specs import ObjectiveSpec as ObjectiveSpec
    from ganenc_registry.specs import RunSpec as RunSpec
    from ganenc_registry.specs import preset as preset

    from ganenc import editing as editing
    from ganenc import images as images
    from ganenc import inversion as inversion
    from ganenc.editing import Direction as Direction
    from ganenc.editing import Finder as Finder
    from ganenc.encoders import Encoder as Encoder
    from ganenc.encoders import EncoderBlock as EncoderBlock
    from ganenc.encoders import EncoderNetwork as EncoderNetwork
    from ganenc.encoders import build_encoder as build_encoder
    from ganenc.foreign import Checkpoint as Checkpoint
    from ganenc.foreign import read_checkpoint as read_checkpoint
    from ganenc.generators import Generator as Generator
    from ganenc.generators import build_generator as build_generator
    from ganenc.inversion import Inversion as Inversion
    from ganenc.inversion import Inverter as Inverter
    from ganenc.inversion import invert as invert
    from ganenc.jobs import ResultFolder as ResultFolder
    from ganenc.jobs import execute as execute
    from ganenc.jobs import invert_folder as invert_folder
    from ganenc.latents import Latents as Latents
    from ganenc.measures import Metric as Metric
    from ganenc.model import Model as Model
    from ganenc.model import load as load
    from ganenc.models import load_encoder as load_encoder
    from ganenc.models import load_generator as load_generator
    from ganenc.models import model_hash as model_hash
    from ganenc.models import save_pretrained as save_pretrained
    from ganenc.objectives import Attention as Attention
    from ganenc.objectives import Backbone as Backbone
    from ganenc.objectives import Loss as Loss
    from ganenc.objectives import Objective as Objective
    from ganenc.objectives import View as View
    from ganenc.objectives import build_objective as build_objective
    from ganenc.objectives import load_backbone as load_backbone
    from ganenc.report import Inverted as Inverted
    from ganenc.training import Recipe as Recipe
    from ganenc.training import finetune as finetune
    from ganenc.training import pretrain as pretrain
    from ganenc.training import solve_start as solve_start

__version__ = "0.1.0"

_own, _, _lazy = lazy_loader.attach(
    __name__,
    submodules={
        "editing",
        "images",
        "inversion",
        "jobs",
        "measures",
        "models",
        "objectives",
        "report",
        "testing",
        "training",
    },
    submod_attrs={
        "editing": ["Direction", "Finder"],
        "encoders": ["Encoder", "EncoderBlock", "EncoderNetwork", "build_encoder"],
        "foreign": ["Checkpoint", "read_checkpoint"],
        "generators": ["Generator", "build_generator"],
        "inversion": ["Inversion", "Inverter", "invert"],
        "jobs": ["ResultFolder", "execute", "invert_folder"],
        "latents": ["Latents"],
        "measures": ["Metric"],
        "model": ["Model", "load"],
        "models": ["load_encoder", "load_generator", "model_hash", "save_pretrained"],
        "objectives": ["Attention", "Backbone", "Loss", "Objective", "View", "build_objective", "load_backbone"],
        "report": ["Inverted"],
        "training": ["Recipe", "finetune", "pretrain", "solve_start"],
    },
)

_OF_REGISTRY = {
    **dict.fromkeys(["GanencError", "register", "registry"], "ganenc_registry"),
    **dict.fromkeys(
        ["EncoderSpec", "GeneratorSpec", "InvertSpec", "ObjectiveSpec", "RunSpec", "preset"], "ganenc_registry.specs"
    ),
}

__all__ = [*_OF_REGISTRY, *_lazy]


def __getattr__(name: str) -> Any:
    place = _OF_REGISTRY.get(name)
    return _own(name) if place is None else getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    return __all__
