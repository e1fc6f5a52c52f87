"""What the zoo's generators are made of."""

from __future__ import annotations

from ganenc_registry.specs import GeneratorSpec

from ganenc_plugin_hands.photos import RESOLUTION

__all__ = ["LICENCE", "zoo_spec"]

LICENCE = "Apache-2.0"


def zoo_spec(model: str) -> GeneratorSpec:
    """The spec of a model of the zoo, by its name.

    Raises:
        KeyError: if the zoo has no such model.
    """
    return _SPECS[model]()


def _stylegan2() -> GeneratorSpec:
    from ganenc_plugin_stylegan.stylegan2 import stylegan2_spec

    channels = {4: 192, 8: 192, 16: 96, 32: 48, 64: 16}
    return stylegan2_spec((RESOLUTION, RESOLUTION), channels, z_dim=128, w_dim=128, licence=LICENCE)


_SPECS = {"stylegan2-hands64": _stylegan2}
