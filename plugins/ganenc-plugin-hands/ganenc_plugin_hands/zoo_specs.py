"""What the zoo's generators are made of, and how each is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ganenc_plugin_biggan.specs import biggan_spec
from ganenc_plugin_pggan.specs import pggan_spec
from ganenc_plugin_stylegan.specs import stylegan1_spec, stylegan2_spec
from ganenc_registry.errors import UnknownNameError, nearest
from ganenc_registry.specs import GeneratorSpec

from ganenc_plugin_hands.photos import RESOLUTION
from ganenc_plugin_hands.train_gan import GanTraining

__all__ = ["LICENCE", "zoo_spec", "zoo_training"]

LICENCE = "Apache-2.0"
CHANNELS = {4: 192, 8: 192, 16: 96, 32: 48, 64: 16}
SIZE = (RESOLUTION, RESOLUTION)


def zoo_spec(model: str) -> GeneratorSpec:
    """The spec of a model of the zoo, by its name.

    Raises:
        UnknownNameError: if the zoo has no such model.
    """
    return _recipe(model).spec


def zoo_training(model: str) -> GanTraining:
    """The numbers that a model of the zoo is trained with, by its name.

    Raises:
        UnknownNameError: if the zoo has no such model.
    """
    return GanTraining(**_recipe(model).numbers)


@dataclass(frozen=True)
class _Recipe:
    spec: GeneratorSpec
    numbers: dict[str, Any] = field(default_factory=dict)


def _recipe(model: str) -> _Recipe:
    if model not in _RECIPES:
        raise UnknownNameError(f"The zoo has no {model!r}{nearest(model, _RECIPES)}; it has {', '.join(_RECIPES)}.")
    return _RECIPES[model]


_BIGGAN = {
    "channel_width": 16,
    "attention": (4,),
    "z_dim": 160,
    "c_dim": 32,
    "classes": 10,
    "reduction": 2,
    "n_stats": 1,
}
_RECIPES = {
    "stylegan1-hands64": _Recipe(
        stylegan1_spec(SIZE, CHANNELS, z_dim=128, w_dim=128, licence=LICENCE),
        {"decoder_images": 12_800, "recall": 50.0},
    ),
    "stylegan2-hands64": _Recipe(stylegan2_spec(SIZE, CHANNELS, z_dim=128, w_dim=128, licence=LICENCE)),
    "pggan-hands64": _Recipe(
        pggan_spec(SIZE, CHANNELS, z_dim=256, licence=LICENCE),
        {"decoder_images": 12_800, "recall": 50.0, "generator_rate": 0.001},
    ),
    "biggan-hands64": _Recipe(biggan_spec(RESOLUTION, **_BIGGAN, licence=LICENCE), {"generator_rate": 0.0005}),
}
