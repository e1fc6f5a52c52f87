"""What the zoo's generators are made of."""

from __future__ import annotations

from ganenc_registry.errors import UnknownNameError, nearest
from ganenc_registry.specs import GeneratorSpec

from ganenc_plugin_hands.photos import RESOLUTION

__all__ = ["LICENCE", "zoo_spec"]

LICENCE = "Apache-2.0"


def zoo_spec(model: str) -> GeneratorSpec:
    """The spec of a model of the zoo, by its name.

    Raises:
        UnknownNameError: if the zoo has no such model.
    """
    if model not in _SPECS:
        raise UnknownNameError(f"The zoo has no {model!r}{nearest(model, _SPECS)}; it has {', '.join(_SPECS)}.")
    return _SPECS[model]()


def _stylegan2() -> GeneratorSpec:
    from ganenc_plugin_stylegan.stylegan2 import stylegan2_spec

    channels = {4: 192, 8: 192, 16: 96, 32: 48, 64: 16}
    return stylegan2_spec((RESOLUTION, RESOLUTION), channels, z_dim=128, w_dim=128, licence=LICENCE)


_SPECS = {"stylegan2-hands64": _stylegan2}
